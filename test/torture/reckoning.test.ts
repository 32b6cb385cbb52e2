import { describe, expect, test } from 'vitest'
import { type Asked, type Books, type Effect, PLACES, type Place, reckon } from './reckoning.ts'

const ASKED: readonly Asked[] = [
  { id: 'x1', from: 'a', to: 'b', cents: 5, n: 1 },
  { id: 'x2', from: 'a', to: 'b', cents: 7, n: 2 },
  { id: 'y1', from: 'b', to: 'a', cents: 1, n: 1 },
]

const at = (place: Place, ids: readonly string[]): readonly Effect[] =>
  ids.map((id) => ({ place, id, name: id.startsWith('x') ? 'a' : 'b', n: Number(id.slice(1)) }))

function books(over: Partial<Record<Place, readonly string[]>> = {}, cents: readonly (readonly [string, number])[] = [['a', 89], ['b', 111], ['c', 100]]): Books {
  return { asked: ASKED, effects: PLACES.flatMap((place) => at(place, over[place] ?? ['x1', 'y1', 'x2'])), cents: new Map(cents) }
}

const RIGHT = { requests: 3, messages: 9, lost: 0, doubled: 0, outOfOrder: 0, ghosts: 0, balances: true }

describe('books of transfers', () => {
  test('that are right have nothing to complain about', () => {
    expect(reckon(books(), 100)).toEqual(RIGHT)
  })

  test('show what is lost, once for each place', () => {
    expect(reckon(books({ audit: ['x2', 'y1'], tally: [] }), 100)).toEqual({ ...RIGHT, lost: 4 })
  })

  test('show what was done twice', () => {
    expect(reckon(books({ ledger: ['x1', 'x1', 'y1', 'x2', 'y1'] }), 100)).toEqual({ ...RIGHT, doubled: 2 })
  })

  test('show what came before its turn, within one account alone', () => {
    expect(reckon(books({ tally: ['x2', 'x1', 'y1'] }), 100)).toEqual({ ...RIGHT, outOfOrder: 1 })
    expect(reckon(books({ tally: ['y1', 'x1', 'x2'] }), 100)).toEqual(RIGHT)
  })

  test('show what nobody asked for', () => {
    expect(reckon(books({ audit: ['x1', 'y1', 'x2', 'x3'] }), 100)).toEqual({ ...RIGHT, ghosts: 1 })
  })

  test('show a cent that is missing, and one that two errors hide from the sum', () => {
    expect(reckon(books({}, [['a', 88], ['b', 111], ['c', 100]]), 100)).toEqual({ ...RIGHT, balances: false })
    expect(reckon(books({}, [['a', 88], ['b', 112], ['c', 100]]), 100)).toEqual({ ...RIGHT, balances: false })
  })

  test('show a request whose commit is gone although a later one of its account is there', () => {
    const { effects } = books({ ledger: ['x2', 'y1'], audit: ['x2', 'y1'], tally: ['x2', 'y1'] })
    const cents = new Map([['a', 94], ['b', 106]])
    expect(reckon({ asked: ASKED.slice(1), effects, cents }, 100)).toMatchObject({ lost: 0, balances: false })
  })
})
