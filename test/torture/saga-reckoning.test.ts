import { describe, expect, test } from 'vitest'
import type { Asked, Effect } from './reckoning.ts'
import { reckonSagas } from './saga-reckoning.ts'

const ASKED: readonly Asked[] = [
  { id: 'x', from: 'a', to: 'b', cents: 5, n: 1 },
  { id: 'y', from: 'b', to: 'a', cents: 1, n: 1 },
]

const DONE = ['x debit a', 'x credit b', 'x ended completed']
const UNDONE = ['y debit b', 'y credit a', 'y take-back a', 'y refund b', 'y ended compensated']
const CENTS = [['a', 95], ['b', 105]] as const

function count(texts: readonly string[], cents: readonly (readonly [string, number])[] = CENTS): ReturnType<typeof reckonSagas> {
  const effects: Effect[] = texts.map((text) => {
    const [id = '', place = '', name = ''] = text.split(' ')
    return { id, place, name, n: 1 }
  })
  return reckonSagas({ asked: ASKED, effects, cents: new Map(cents) }, 100)
}

const RIGHT = { requests: 2, lost: 0, doubled: 0, outOfOrder: 0, ghosts: 0, balances: true }

describe('books of sagas', () => {
  test('are right where each has done everything, or undone everything that it had done', () => {
    expect(count([...DONE, ...UNDONE])).toMatchObject(RIGHT)
    expect(count([...DONE, 'y ended compensated'])).toMatchObject(RIGHT)
    expect(count([...DONE, 'y debit b', 'y refund b', 'y ended compensated'])).toMatchObject(RIGHT)
  })

  test('show a saga without an end, and one that ended without its effects', () => {
    expect(count(DONE)).toMatchObject({ ...RIGHT, lost: 1 })
    expect(count(['x debit a', 'x ended completed', ...UNDONE])).toMatchObject({ ...RIGHT, lost: 1 })
  })

  test('show a step and an end that are there twice', () => {
    expect(count([...DONE, 'x credit b', 'x ended completed', ...UNDONE])).toMatchObject({ ...RIGHT, doubled: 2 })
  })

  test('show what was not undone, what was undone for nothing, and what nobody wanted', () => {
    expect(count([...DONE, 'y debit b', 'y ended compensated'])).toMatchObject({ ...RIGHT, ghosts: 1 })
    expect(count([...DONE, 'x refund a', ...UNDONE])).toMatchObject({ ...RIGHT, ghosts: 1 })
    expect(count([...DONE, ...UNDONE, 'z debit a'])).toMatchObject({ ...RIGHT, ghosts: 1 })
    expect(count([...DONE, 'y ended failed'])).toMatchObject({ ...RIGHT, ghosts: 1 })
  })

  test('show a cent that is not where it should be', () => {
    expect(count([...DONE, ...UNDONE], [['a', 94], ['b', 106]])).toMatchObject({ ...RIGHT, balances: false })
  })
})
