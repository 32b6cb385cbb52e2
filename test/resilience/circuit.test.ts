import { describe, expect, test } from 'vitest'
import { type Passage, Circuit } from '../../src/resilience/circuit.ts'
import { ConsecutiveWindow } from '../../src/resilience/failure-window.ts'

function circuit(trials: number = 1): Circuit {
  return new Circuit(new ConsecutiveWindow(1), { openMs: 100, openMaxMs: 400, trials })
}

function entered(one: Circuit, nowMs: number): Passage {
  const passage = one.enter(nowMs)
  if (passage === undefined) throw new Error(`refused at ${nowMs}`)
  return passage
}

describe('a circuit', () => {
  test('lets no more calls through than it tries, and closes when all of them succeeded', () => {
    const one = circuit(2)
    one.leave(entered(one, 0), 'failure', 0)
    expect([one.state, one.enter(99), one.retryAfterMs(99)]).toEqual(['open', undefined, 1])
    const [first, second] = [entered(one, 100), entered(one, 100)]
    expect([one.state, one.enter(100)]).toEqual(['half-open', undefined])
    one.leave(first, 'success', 110)
    expect([one.state, one.enter(110)]).toEqual(['half-open', undefined])
    one.leave(second, 'success', 120)
    expect(one.state).toBe('closed')
  })

  test('stays open twice as long after each failed trial, up to its bound, and as at first when it has been closed', () => {
    const one = circuit()
    one.leave(entered(one, 0), 'failure', 0)
    let atMs = 0
    for (const waitMs of [100, 200, 400, 400]) {
      expect(one.enter(atMs + waitMs - 1)).toBeUndefined()
      atMs += waitMs
      one.leave(entered(one, atMs), 'failure', atMs)
    }
    one.leave(entered(one, atMs + 400), 'success', atMs + 400)
    one.leave(entered(one, atMs + 500), 'failure', atMs + 500)
    expect(one.retryAfterMs(atMs + 500)).toBe(100)
  })

  test('is not moved by a call that began before it changed', () => {
    const one = circuit()
    const [slow, slower, failing] = [entered(one, 0), entered(one, 0), entered(one, 0)]
    one.leave(failing, 'failure', 0)
    one.leave(slow, 'success', 50)
    expect(one.state).toBe('open')
    const trial = entered(one, 100)
    one.leave(slower, 'failure', 101)
    expect(one.state).toBe('half-open')
    one.leave(trial, 'success', 102)
    expect(one.state).toBe('closed')
  })

  test('gives the place of a trial that was given up to another, and takes one that never ends for failed', () => {
    const one = circuit()
    one.leave(entered(one, 0), 'failure', 0)
    one.leave(entered(one, 100), 'void', 110)
    entered(one, 120)
    expect([one.enter(219), one.state]).toEqual([undefined, 'half-open'])
    expect([one.enter(220), one.state, one.retryAfterMs(220)]).toEqual([undefined, 'open', 200])
  })
})
