import { describe, expect, test } from 'vitest'
import { DETECTOR } from '../../src/discovery/directory-state.ts'
import { announcement, BEAT_MS, info, Reader } from './fold-rig.ts'

const others = (count: number): string[] => Array.from({ length: count }, (_, index) => `i${index}`)

function readerOf(instances: readonly string[]): Reader {
  const reader = new Reader()
  for (const instance of instances) reader.hear(instance, 'started')
  reader.told()
  return reader
}

describe('news', () => {
  test('of an instance that started makes it up', () => {
    const reader = new Reader()
    reader.told()
    reader.hear('a', 'started')
    expect(reader.told()).toEqual(['instance-up a'])
    expect(reader.standing).toEqual({ a: 'up' })
  })

  test('of one that is unknown makes the reader ask it', () => {
    const reader = new Reader()
    reader.hear('a', 'alive')
    expect(reader.standing).toEqual({})
    expect(reader.actions).toEqual([{ kind: 'probe', instance: 'a', address: 'inbox.a', withinMs: 0 }])
    reader.fold({ kind: 'answered', beat: announcement('a'), info: info() })
    expect(reader.standing).toEqual({ a: 'up' })
  })

  test('that is older than what is known changes nothing', () => {
    const reader = readerOf(['a'])
    reader.hear('a', 'alive', { seq: 5, health: 'degraded' })
    reader.told()
    reader.hear('a', 'alive', { seq: 4, health: 'down' })
    reader.hear('a', 'stopped', { seq: 3 })
    reader.hear('a', 'changed', { incarnation: 0, seq: 99, health: 'down' })
    expect(reader.told()).toEqual([])
    expect(reader.standing).toEqual({ a: 'up' })
  })

  test('of a later life replaces the earlier one', () => {
    const reader = readerOf(['a'])
    reader.hear('a', 'started', { incarnation: 7, seq: 1, info: info({ version: '2.0.0' }) })
    expect(reader.told()).toEqual(['instance-up a'])
    expect(reader.state.members.get('a')?.info.version).toBe('2.0.0')
  })

  test('of draining and of a change is told', () => {
    const reader = readerOf(['a'])
    reader.hear('a', 'changed', { infoRevision: 2, info: info({ weight: 3 }) })
    reader.hear('a', 'draining', { phase: 'draining', infoRevision: 2 })
    expect(reader.told()).toEqual(['instance-changed a', 'instance-draining a'])
    expect(reader.standing).toEqual({ a: 'draining' })
  })

  test('of a change that the reader missed makes it ask', () => {
    const reader = readerOf(['a'])
    reader.hear('a', 'alive', { infoRevision: 2 })
    expect(reader.actions).toMatchObject([{ kind: 'probe', instance: 'a' }])
    reader.fold({ kind: 'answered', beat: announcement('a', { seq: 2, infoRevision: 2 }), info: info({ version: '3.0.0' }) })
    expect(reader.state.members.get('a')?.info.version).toBe('3.0.0')
  })
})

describe('a silent instance', () => {
  test('is suspected after three announcements and down after six, once it did not answer', () => {
    const reader = readerOf(['a', 'b'])
    reader.pass(12_000, ['b'])
    expect(reader.standing).toEqual({ a: 'up', b: 'up' })
    reader.pass(1_000, ['b'])
    expect(reader.told()).toEqual(['instance-suspect a'])
    reader.pass(10_000, ['b'])
    expect(reader.standing).toEqual({ a: 'suspect', b: 'up' })
    reader.pass(3_000, ['b'])
    expect(reader.standing).toEqual({ a: 'down', b: 'up' })
  })

  test('is not down before a question to it has failed, however long it is silent', () => {
    const reader = readerOf(['a', 'b'])
    reader.pass(120_000, ['b'], () => 'pending')
    expect(reader.standing).toEqual({ a: 'suspect', b: 'up' })
  })

  test('is down at once where the broker knows twice that nobody is there', () => {
    const reader = readerOf(['a', 'b'])
    reader.pass(16_000, ['b'], () => 'refused')
    expect(reader.told()).toEqual(['instance-suspect a', 'instance-down a'])
  })

  test('is not accused while it answers questions', () => {
    const reader = readerOf(['a', 'b'])
    reader.pass(600_000, ['b'], () => 'answered')
    expect(reader.told().filter((event) => event.startsWith('instance-down'))).toEqual([])
  })

  test('is not believed to be gone by a reader that heard nobody since it asked', () => {
    const reader = readerOf(['a', 'b'])
    reader.hear('a', 'alive', { beatMs: 1_000 })
    reader.hearsItself = false
    // Its own announcements are missed after nine seconds only, and this one is due every second.
    reader.pass(8_000)
    expect(reader.standing).toEqual({ a: 'suspect', b: 'up' })
    reader.pass(8_000, ['b'])
    expect(reader.told()).not.toContain('instance-down a')
    reader.hearsItself = true
    reader.pass(12_000, ['b'])
    expect(reader.standing).toEqual({ a: 'down', b: 'up' })
  })

  test('is not believed to be gone for one question without an answer, which may have been lost', () => {
    const reader = readerOf(['a', 'b'])
    let asked = 0
    reader.pass(40_000, ['b'], () => (asked++ === 0 ? 'silent' : 'pending'))
    expect(reader.standing['a']).toBe('suspect')
  })

  test('is up again when it is heard', () => {
    const reader = readerOf(['a', 'b'])
    reader.pass(14_000, ['b'])
    reader.told()
    reader.hear('a')
    expect(reader.told()).toEqual(['instance-up a'])
  })

  test('that is down is asked before late news is believed', () => {
    const reader = readerOf(['a', 'b'])
    reader.pass(27_000, ['b'])
    expect(reader.standing['a']).toBe('down')
    reader.hear('a', 'alive', { seq: 99 })
    expect(reader.standing['a']).toBe('down')
    expect(reader.actions).toMatchObject([{ kind: 'probe', instance: 'a' }])
    reader.pass(1_000, ['b'], () => 'answered')
    expect(reader.standing['a']).toBe('up')
  })
})

describe('a reader', () => {
  test('that was stalled accuses nobody', () => {
    const reader = readerOf(['a', 'b', 'c'])
    for (let stall = 0; stall < 5; stall++) {
      reader.nowMs += 60_000
      reader.fold({ kind: 'tick', isLinked: true })
      reader.pass(8_000, ['a', 'b', 'c'])
    }
    expect(reader.told()).toEqual([])
  })

  test('whose link is down accuses nobody, and says that its view is stale', () => {
    const reader = readerOf(['a', 'b'])
    reader.isLinked = false
    reader.pass(300_000)
    expect(reader.told()).toEqual(['view-stale'])
    reader.isLinked = true
    reader.pass(8_000, ['a', 'b'])
    expect(reader.told()).toEqual(['view-fresh'])
    expect(reader.standing).toEqual({ a: 'up', b: 'up' })
  })

  test('that does not hear itself accuses nobody, whatever its link says', () => {
    const reader = readerOf(['a', 'b'])
    reader.hearsItself = false
    reader.pass(120_000)
    expect(reader.told()).toEqual(['view-stale'])
    expect(reader.standing).toEqual({ a: 'up', b: 'up' })
  })

  test('doubts itself where very many fall silent at once, and believes it after a while', () => {
    const reader = readerOf(others(20))
    reader.pass(60_000, others(10), () => 'refused')
    const told = reader.told()
    expect(told).toContain('view-stale')
    expect(told.filter((event) => event.startsWith('instance-down'))).toEqual([])
    reader.pass(DETECTOR.preserveMs, others(10), () => 'refused')
    expect(Object.values(reader.standing).filter((state) => state === 'down')).toHaveLength(10)
  })

  test('comes out of its doubts as soon as they are heard again', () => {
    const reader = readerOf(others(20))
    reader.pass(30_000, others(10), () => 'silent')
    expect(reader.state.stale).toBeDefined()
    reader.pass(8_000, others(20))
    expect(reader.state.stale).toBeUndefined()
    expect(new Set(Object.values(reader.standing))).toEqual(new Set(['up']))
  })

  test('believes that five of twenty died', () => {
    const reader = readerOf(others(20))
    reader.pass(29_000, others(15), () => 'silent')
    expect(Object.values(reader.standing).filter((state) => state === 'down')).toHaveLength(5)
  })
})

describe('an instance that said goodbye', () => {
  test('is not brought back by late news, only by a later life', () => {
    const reader = readerOf(['a'])
    reader.hear('a', 'stopped')
    expect(reader.told()).toEqual(['instance-stopped a'])
    reader.hear('a', 'alive', { seq: 50 })
    reader.fold({ kind: 'answered', beat: announcement('a', { seq: 51 }), info: info() })
    expect(reader.standing).toEqual({ a: 'stopped' })
    reader.hear('a', 'started', { incarnation: 2, seq: 1 })
    expect(reader.standing).toEqual({ a: 'up' })
  })

  test('is forgotten after four down times', () => {
    const reader = readerOf(['a', 'b'])
    reader.hear('a', 'stopped')
    reader.pass(DETECTOR.downAfterBeats * BEAT_MS * DETECTOR.goneKeptFactor + 2_000, ['b'])
    expect(reader.standing).toEqual({ b: 'up' })
  })
})

test('an instance that comes and goes is held down for a while', () => {
  const reader = readerOf(['a', 'b'])
  for (let round = 0; round < 2; round++) {
    reader.pass(28_000, ['b'])
    expect(reader.standing['a']).toBe('down')
    reader.hear('a')
    reader.pass(4_000, ['a', 'b'], () => 'answered')
  }
  expect(reader.standing['a']).toBe('held')
  reader.pass(DETECTOR.holdDownMs, ['a', 'b'])
  expect(reader.standing['a']).toBe('up')
})

describe('a report of another reader', () => {
  const row = (instance: string, ageMs: number, isGone = false, over = {}): { beat: ReturnType<typeof announcement>; info: ReturnType<typeof info>; ageMs: number; isGone: boolean } =>
    ({ beat: announcement(instance, over), info: info(), ageMs, isGone })

  test('counts as old as it is', () => {
    const reader = new Reader()
    reader.fold({ kind: 'reported', rows: [row('a', 10_000), row('b', 0)] })
    expect(reader.standing).toEqual({ a: 'up', b: 'up' })
    reader.pass(4_000)
    expect(reader.standing).toEqual({ a: 'suspect', b: 'up' })
  })

  test('of one that is gone keeps late news of it away', () => {
    const reader = new Reader()
    reader.fold({ kind: 'reported', rows: [row('a', 0, true)] })
    reader.hear('a', 'alive', { seq: 7 })
    expect(reader.standing).toEqual({ a: 'down' })
  })

  test('of an older life of the reader makes it outlive that', () => {
    const reader = new Reader()
    reader.fold({ kind: 'reported', rows: [row('me', 0, false, { process: 'old', incarnation: 9 })] })
    expect(reader.actions).toEqual([{ kind: 'outlive', incarnation: 10 }])
  })
})

test('another process under the reader\'s own name is told', () => {
  const reader = new Reader()
  reader.told()
  reader.fold({ kind: 'heard', about: 'alive', beat: announcement('me', { process: 'other' }) })
  expect(reader.told()).toEqual(['name-taken me'])
  expect(reader.actions).toEqual([{ kind: 'outlive', incarnation: 2 }])
})

test('a view has a limit', () => {
  const reader = new Reader()
  for (let count = 0; count < DETECTOR.instancesMax + 10; count++) reader.hear(`i${count}`, 'started')
  expect(reader.state.members.size).toBe(DETECTOR.instancesMax)
})
