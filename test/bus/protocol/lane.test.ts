import { describe, expect, test } from 'vitest'
import { LANE_HELD_MAX, LANE_STALL_MS } from '../../../src/core/limits.ts'
import { FakeBroker, Owner, VirtualClock, flush, message, record, type OwnerOptions } from './fake-broker.ts'

const SIGNAL = new AbortController().signal

interface Setup {
  readonly broker: FakeBroker
  readonly clock: VirtualClock
  readonly owner: Owner
  /** Another process takes the lane over; the one before gets no answers any more. */
  readonly next: (options?: OwnerOptions) => Owner
}

function setup(options: OwnerOptions = {}): Setup {
  const broker = new FakeBroker()
  const clock = new VirtualClock()
  let seed = 1
  const next = (other: OwnerOptions = {}): Owner => new Owner(broker, clock, { ...options, ...other, seed: seed++ }).start()
  return { broker, clock, owner: next(), next }
}

describe('order of a key', () => {
  test('runs a live message of a free key at once and acks it in the lane', async () => {
    const { broker, owner } = setup()
    broker.publish(message('a', 'a1'))
    const delivery = owner.take('a1')
    expect([delivery.attempt, delivery.isSuspect, delivery.isRedriven]).toEqual([1, false, false])
    await delivery.ack()
    expect([broker.unacked, broker.held]).toEqual([[], []])
  })

  test('keeps later messages of a running key unacked in memory and runs other keys', async () => {
    const { broker, owner } = setup()
    broker.publish(message('a', 'a1'), message('a', 'a2'), message('b', 'b1'))
    expect(owner.running).toEqual(['a1', 'b1'])
    await owner.take('a1').ack()
    expect(owner.running).toEqual(['b1', 'a2'])
    expect(broker.unacked).toEqual(['a2', 'b1'])
    expect(broker.held).toEqual([])
  })

  test('treats messages without a key as unrelated', () => {
    const { broker, owner } = setup()
    broker.publish(message(undefined, '1'), message(undefined, '2'))
    expect(owner.running).toEqual(['1', '2'])
  })

  test('hands out no more than the window of the group allows, keys in turn', async () => {
    const { broker, owner } = setup({ inFlightMax: 2 })
    broker.publish(message('a', 'a1'), message('a', 'a2'), message('b', 'b1'), message('c', 'c1'))
    expect(owner.running).toEqual(['a1', 'b1'])
    await owner.take('a1').ack()
    expect(owner.running).toEqual(['b1', 'c1'])
  })

  test('shares one window between the lanes of a group', () => {
    const { broker, owner } = setup({ inFlightMax: 1 })
    broker.publish(message('a', 'a1'))
    const other = owner.lanes.open({ number: 4, liveMax: 16, backing: owner })
    other.recovered()
    other.onLive({ message: message('b', 'b1'), attempt: 0, isSuspect: false, ack: () => Promise.resolve() })
    expect(owner.running).toEqual(['a1'])
    void owner.take('a1').ack()
    expect(owner.running).toEqual(['b1'])
  })

  test('survives a sink that settles at once, however many messages wait', async () => {
    const broker = new FakeBroker()
    const handled: string[] = []
    const owner = new Owner(broker, new VirtualClock(), { liveMax: 5_000 }, (delivery) => {
      handled.push(delivery.message.id)
      void delivery.ack()
    })
    broker.publish(...Array.from({ length: 3_000 }, (_, index) => message('a', `${index}`)))
    owner.start()
    await flush()
    expect(handled.length).toBe(3_000)
    expect(broker.unacked).toEqual([])
  })

  test('counts only the first outcome of a delivery', async () => {
    const { broker, owner } = setup()
    broker.publish(message('a', 'a1'))
    const delivery = owner.take('a1')
    await Promise.all([delivery.ack(), delivery.retry(5), delivery.deadLetter(record()), delivery.ack()])
    expect([broker.unacked, broker.held, broker.deadLetters.size]).toEqual([[], [], 0])
  })
})

describe.each([{ places: 'append' as const }, { places: 'echo' as const }])('the hold list, places by $places', ({ places }) => {
  test('holds a retried message and its followers in order, stored before they are acked', async () => {
    const { broker, owner, clock } = setup({ places })
    broker.publish(message('a', 'a1'), message('a', 'a2'), message('b', 'b1'))
    await owner.take('a1').retry(1_000)
    await flush()
    expect(broker.held).toEqual(['retry a1 1', 'follower a2'])
    expect(broker.unacked).toEqual(['b1'])
    expect(owner.calls.indexOf('append head a1')).toBeLessThan(owner.calls.indexOf('ack a1'))
    broker.publish(message('a', 'a3'))
    await flush()
    expect(broker.held).toEqual(['retry a1 1', 'follower a2', 'follower a3'])
    clock.advance(999)
    expect(owner.running).toEqual(['b1'])
    clock.advance(1)
    expect(owner.running).toEqual(['b1', 'a1'])
    const second = owner.take('a1')
    expect([second.attempt, second.isSuspect]).toEqual([2, false])
    await second.ack()
    expect(owner.running).toEqual(['b1', 'a2'])
    expect(broker.held).toEqual(['follower a2', 'follower a3'])
  })

  test('replaces the head of a message that is retried again', async () => {
    const { broker, owner, clock } = setup({ places })
    broker.publish(message('a', 'a1'))
    await owner.take('a1').retry(10)
    clock.advance(10)
    await owner.take('a1').retry(10)
    await flush()
    expect(broker.held).toEqual(['retry a1 2'])
    clock.advance(10)
    expect(owner.take('a1').attempt).toBe(3)
  })

  test('runs held messages before the live ones that came later', async () => {
    const { broker, owner, clock } = setup({ places })
    broker.publish(message('a', 'a1'), message('a', 'a2'))
    await owner.take('a1').retry(10)
    await flush()
    clock.advance(10)
    broker.publish(message('a', 'a3'))
    await flush()
    expect(broker.unacked).toEqual(['a3'])
    const order: string[] = []
    for (const id of ['a1', 'a2', 'a3']) {
      order.push(...owner.running)
      await owner.take(id).ack()
      await flush()
    }
    expect(order).toEqual(['a1', 'a2', 'a3'])
    expect([broker.held, broker.unacked]).toEqual([[], []])
  })

  test('holds a key behind its dead letter and leaves other keys alone', async () => {
    const { broker, owner } = setup({ places })
    broker.publish(message('a', 'a1'), message('a', 'a2'), message('b', 'b1'))
    await owner.take('a1').deadLetter(record())
    await flush()
    expect(broker.held).toEqual(['dead a1 1', 'follower a2'])
    expect([...broker.deadLetters.values()].map((dead) => [dead.message.id, dead.record.reason])).toEqual([['a1', 'bus.handler_failed']])
    expect(broker.unacked).toEqual(['b1'])
    expect(owner.running).toEqual(['b1'])
    expect(owner.calls.indexOf('append head a1')).toBeLessThan(owner.calls.indexOf('dead a1'))
    expect(owner.calls.indexOf('dead a1')).toBeLessThan(owner.calls.indexOf('ack a1'))
  })

  test('redrives before the messages that waited, from attempt 1', async () => {
    const { broker, owner } = setup({ places })
    broker.publish(message('a', 'a1'), message('a', 'a2'))
    await owner.take('a1').deadLetter(record())
    const [id = ''] = broker.deadLetters.keys()
    broker.operate(id, 'redrive')
    await flush()
    expect(broker.held).toEqual(['follower a2', 'retry a1 0'])
    const again = owner.take('a1')
    expect([again.attempt, again.isRedriven, again.isSuspect]).toEqual([1, true, false])
    await again.ack()
    expect(owner.running).toEqual(['a2'])
    expect(broker.held).toEqual(['follower a2'])
  })

  test('gives a message that is given up again a dead letter with an id of its own', async () => {
    const { broker, owner } = setup({ places })
    broker.publish(message('a', 'a1'))
    await owner.take('a1').deadLetter(record())
    const [first = ''] = broker.deadLetters.keys()
    broker.operate(first, 'redrive')
    await flush()
    await owner.take('a1').deadLetter(record('bus.rejected'))
    expect([...broker.deadLetters.keys()]).not.toContain(first)
    expect(broker.deadLetters.size).toBe(1)
  })

  test('lets a key go on when its dead letter is removed', async () => {
    const { broker, owner } = setup({ places })
    broker.publish(message('a', 'a1'), message('a', 'a2'))
    await owner.take('a1').deadLetter(record())
    const [id = ''] = broker.deadLetters.keys()
    broker.operate(id, 'remove')
    await flush()
    expect(owner.running).toEqual(['a2'])
    expect(broker.held).toEqual(['follower a2'])
  })

  test('drops an operator\'s wish for something unknown', async () => {
    const { broker, owner } = setup({ places })
    broker.operate('nothing', 'redrive')
    await flush()
    expect([broker.held, owner.running]).toEqual([[], []])
  })

  test('records the attempt of a suspect before it runs', async () => {
    const { broker, owner, next } = setup({ places })
    broker.publish(message('a', 'a1'))
    expect(owner.take('a1').isSuspect).toBe(false)
    const second = next()
    const suspect = second.take('a1')
    expect([suspect.isSuspect, suspect.attempt]).toEqual([true, 1])
    expect(await suspect.begin()).toBe(1)
    expect([broker.held, broker.unacked]).toEqual([['begun a1 1'], []])
    const third = next()
    const again = third.take('a1')
    expect([again.isSuspect, again.attempt]).toEqual([true, 2])
    expect(await again.begin()).toBe(2)
    await flush()
    expect(broker.held).toEqual(['begun a1 2'])
    await again.retry(10)
    await flush()
    expect(broker.held).toEqual(['retry a1 2'])
  })

  test('spends nothing when a suspect is released after its attempt was recorded', async () => {
    const { broker, owner, next } = setup({ places })
    broker.publish(message('a', 'a1'))
    expect(owner.running).toEqual(['a1'])
    const suspect = next().take('a1')
    await suspect.begin()
    await suspect.release()
    await flush()
    expect(broker.held).toEqual(['retry a1 0'])
    expect(next().take('a1').attempt).toBe(1)
  })
})

describe('take-over', () => {
  test('keeps the due time and the attempts of a retry, and the order behind it', async () => {
    const { broker, owner, clock, next } = setup()
    broker.publish(message('a', 'a1'), message('a', 'a2'))
    await owner.take('a1').retry(1_000)
    await flush()
    clock.advance(400)
    const second = next()
    clock.advance(599)
    expect(second.running).toEqual([])
    clock.advance(1)
    expect(second.take('a1').attempt).toBe(2)
  })

  test('suspects what may have been running when the owner vanished', async () => {
    const { broker, owner, clock, next } = setup()
    broker.publish(message('a', 'a1'), message('b', 'b1'), message('b', 'b2'))
    await owner.take('a1').retry(10)
    await owner.take('b1').retry(1_000)
    await flush()
    clock.advance(10)
    const second = next()
    const due = second.take('a1')
    expect([due.isSuspect, due.attempt]).toEqual([true, 2])
    clock.advance(990)
    expect(second.take('b1').isSuspect).toBe(false)
  })

  test('acks and drops a live message that is in the hold list', async () => {
    const { broker, owner, next } = setup({ isManual: true })
    broker.publish(message('a', 'a1'), message('a', 'a2'))
    void owner.take('a1').retry(10)
    owner.apply()
    expect([broker.held, broker.unacked]).toEqual([['retry a1 1'], ['a1', 'a2']])
    next({ isManual: false })
    await flush()
    expect(broker.held).toEqual(['retry a1 1', 'follower a2'])
    expect(broker.unacked).toEqual([])
  })

  test('lets the last head of a message count and any head more than a follower', async () => {
    const broker = new FakeBroker()
    const clock = new VirtualClock()
    const a1 = message('a', 'a1')
    const head = { role: 'head', message: a1, state: 'retry', dueAtMs: 0, isRedriven: false, record: undefined } as const
    broker.store({ role: 'follower', id: '1', message: a1, attempt: 0, isSuspect: false })
    broker.store({ role: 'follower', id: '2', message: message('a', 'a2'), attempt: 0, isSuspect: false })
    broker.store({ ...head, id: '3', attempt: 1 })
    broker.store({ ...head, id: '4', attempt: 2 })
    broker.store({ role: 'follower', id: '5', message: message('a', 'a2'), attempt: 0, isSuspect: false })
    const owner = new Owner(broker, clock).start()
    await flush()
    expect(broker.held).toEqual(['follower a2', 'retry a1 2'])
    expect(owner.take('a1').attempt).toBe(3)
  })

  test('stores the dead letter again when the owner died before it could', async () => {
    const { broker, owner, next } = setup({ isManual: true })
    broker.publish(message('a', 'a1'))
    void owner.take('a1').deadLetter(record())
    owner.apply()
    expect([broker.held, broker.deadLetters.size]).toEqual([['dead a1 1'], 0])
    next({ isManual: false })
    await flush()
    expect([broker.held, broker.deadLetters.size, broker.unacked]).toEqual([['dead a1 1'], 1, []])
    expect([...broker.deadLetters.keys()]).toEqual(broker.hold.map(({ entry }) => entry.id))
  })

  test('does not store a dead letter again that an operator took away', async () => {
    const { broker, owner, next } = setup()
    broker.publish(message('a', 'a1'))
    await owner.take('a1').deadLetter(record())
    owner.crash()
    const [id = ''] = broker.deadLetters.keys()
    broker.operate(id, 'remove')
    next()
    await flush()
    expect([broker.held, broker.deadLetters.size]).toEqual([[], 0])
  })

  test('obeys an operator who acted while nobody owned the lane', async () => {
    const { broker, owner, next } = setup()
    broker.publish(message('a', 'a1'), message('a', 'a2'))
    await owner.take('a1').deadLetter(record())
    await flush()
    owner.crash()
    const [id = ''] = broker.deadLetters.keys()
    broker.operate(id, 'redrive')
    const second = next()
    await flush()
    expect(second.running).toEqual(['a1'])
    expect(broker.held).toEqual(['follower a2', 'retry a1 0'])
  })

  test('removes what a previous owner stored late, unless nobody else answers for the message', async () => {
    const { broker, owner } = setup()
    const late = { role: 'head', state: 'retry', attempt: 1, dueAtMs: 0, isRedriven: false, record: undefined } as const
    broker.publish(message('a', 'a1'), message('a', 'a2'))
    await owner.take('a1').ack()
    broker.store({ ...late, id: 'zombie-1', message: message('a', 'a1') })
    broker.store({ ...late, id: 'zombie-2', message: message('a', 'a2') })
    broker.store({ ...late, id: 'zombie-3', message: message('z', 'z1') })
    await flush()
    expect(broker.held).toEqual(['retry a2 1', 'retry z1 1'])
    expect(owner.running).toEqual(['a2', 'z1'])
    await owner.take('a2').ack()
    await owner.take('z1').ack()
    expect(broker.held).toEqual([])
  })

  test('does not run a message again that this owner has handled, nor twice at once', async () => {
    const { broker, owner } = setup()
    broker.publish(message('a', 'a1'), message('a', 'a2'))
    owner.repeat('a1')
    await owner.take('a1').ack()
    owner.repeat('a1')
    await flush()
    expect(owner.running).toEqual(['a2'])
    expect(owner.calls.filter((call) => call === 'ack a1')).toHaveLength(3)
  })
})

describe('bounds', () => {
  test('moves messages behind a stuck key to the hold list, the running one first', async () => {
    const { broker, owner, clock, next } = setup({ liveMax: 8 })
    broker.publish(...Array.from({ length: 8 }, (_, index) => message('a', `a${index + 1}`)), message('b', 'b1'))
    expect(owner.running).toEqual(['a1'])
    clock.advance(LANE_STALL_MS)
    await flush()
    expect(broker.held).toEqual(Array.from({ length: 8 }, (_, index) => `follower a${index + 1}`))
    expect(owner.running).toEqual(['a1', 'b1'])
    // The owner dies: the message that ran is still before those that waited.
    expect(next({ liveMax: 8 }).running).toEqual(['a1', 'b1'])
  })

  test('leaves messages of a key that makes progress in the lane', async () => {
    const { broker, owner, clock } = setup({ liveMax: 8 })
    broker.publish(...Array.from({ length: 20 }, (_, index) => message('a', `a${index + 1}`)))
    for (let index = 1; index <= 4; index++) await owner.take(`a${index}`).ack()
    clock.advance(LANE_STALL_MS)
    await flush()
    expect(broker.held).toEqual([])
  })

  test('stops taking live messages when the hold list is full, says so, and goes on when it has room', async () => {
    const { broker, owner } = setup({ liveMax: 100 })
    broker.publish(message('a', 'a0'))
    await owner.take('a0').deadLetter(record())
    for (let index = 1; index < LANE_HELD_MAX; index += 50) {
      broker.publish(...Array.from({ length: 50 }, (_, offset) => message('a', `a${index + offset}`)))
      await flush()
    }
    expect(owner.isPaused).toBe(true)
    expect(owner.reason).toBe(`lane 3 of group "ledger" holds back ${LANE_HELD_MAX} messages and takes no new ones until some of them are settled`)
    expect(broker.hold).toHaveLength(LANE_HELD_MAX)
    broker.publish(message('b', 'b1'))
    expect(owner.running).toEqual([])
    const [id = ''] = broker.deadLetters.keys()
    broker.operate(id, 'remove')
    await flush()
    for (let index = 1; owner.isPaused; index++) {
      await owner.take(`a${index}`).ack()
      expect(index).toBeLessThan(LANE_HELD_MAX)
    }
    expect(owner.reason).toBeUndefined()
    expect(owner.running).toContain('b1')
  })
})

describe('a broker that refuses', () => {
  test('acks nothing that is not stored, and gives the lane up', async () => {
    const { broker, owner, next } = setup()
    broker.publish(message('a', 'a1'), message('a', 'a2'), message('a', 'a3'), message('b', 'b1'))
    owner.refuse = (name) => name === 'append follower a2'
    await owner.take('a1').retry(10)
    await flush()
    expect(owner.problem).toBeInstanceOf(Error)
    expect(broker.held).toEqual(['retry a1 1'])
    expect(broker.unacked).toEqual(['a2', 'a3', 'b1'])
    expect(owner.running).toEqual(['b1'])
    owner.lane.lost()
    next()
    await flush()
    expect(broker.held).toEqual(['retry a1 1', 'follower a2', 'follower a3'])
  })

  test('does not go on with a key whose handled message could not be removed', async () => {
    const { broker, owner, clock } = setup()
    broker.publish(message('a', 'a1'), message('a', 'a2'))
    await owner.take('a1').retry(10)
    await flush()
    clock.advance(10)
    owner.refuse = (name) => name === 'remove a1'
    await owner.take('a1').ack()
    expect(owner.running).toEqual([])
    expect(owner.problem).toBeInstanceOf(Error)
  })

  test('keeps the key held when the dead letter cannot be stored', async () => {
    const { broker, owner } = setup()
    broker.publish(message('a', 'a1'), message('a', 'a2'))
    owner.refuse = (name) => name.startsWith('dead')
    await owner.take('a1').deadLetter(record())
    await flush()
    expect(broker.unacked).toContain('a1')
    expect(owner.running).toEqual([])
  })
})

describe('the end of an ownership', () => {
  test('touches nothing any more when the lane is lost, and frees the window', async () => {
    const { broker, owner, clock } = setup({ inFlightMax: 3 })
    broker.publish(message('a', 'a1'), message('b', 'b1'), message('c', 'c1'), message('d', 'd1'))
    const [one, two, three] = ['a1', 'b1', 'c1'].map((id) => owner.take(id))
    owner.lane.lost()
    const before = [...owner.calls]
    await Promise.all([one?.ack(), two?.retry(5), three?.deadLetter(record())])
    await expect(one?.begin()).rejects.toMatchObject({ code: 'bus.connection_lost' })
    expect(owner.calls).toEqual(before)
    expect([owner.running, clock.armed]).toEqual([[], 0])
    const other = owner.lanes.open({ number: 4, liveMax: 16, backing: owner })
    other.recovered()
    other.onLive({ message: message('e', 'e1'), attempt: 0, isSuspect: false, ack: () => Promise.resolve() })
    expect(owner.running).toEqual(['e1'])
  })

  test('sends nothing after the loss, however close the broker\'s answer came before it', async () => {
    for (let microtasks = 0; microtasks < 20; microtasks++) {
      const { broker, owner } = setup({ isManual: true })
      broker.publish(message('a', 'a1'))
      const settled = owner.take('a1').retry(5)
      owner.apply()
      owner.respond()
      for (let count = 0; count < microtasks; count++) await Promise.resolve()
      const before = [...owner.calls]
      owner.lane.lost()
      await settled
      await flush()
      expect(owner.calls).toEqual(before)
    }
  })

  test('resolves settling calls that wait for a link that is gone', async () => {
    const { broker, owner } = setup({ isManual: true })
    broker.publish(message('a', 'a1'))
    const settled = owner.take('a1').retry(5)
    owner.crash()
    owner.lane.lost()
    await settled
    expect(broker.unacked).toEqual(['a1'])
  })

  test('closes when what runs is settled and stored, and hands out nothing more', async () => {
    const { broker, owner, clock } = setup()
    broker.publish(message('a', 'a1'), message('a', 'a2'), message('b', 'b1'), message('b', 'b2'))
    let isClosed = false
    const closing = owner.lane.close(SIGNAL).then(() => {
      isClosed = true
    })
    await owner.take('a1').retry(5)
    await flush()
    expect([isClosed, broker.held]).toEqual([false, ['retry a1 1']])
    await owner.take('b1').ack()
    await closing
    clock.advance(1_000)
    expect([owner.running, broker.unacked, clock.armed]).toEqual([[], ['a2', 'b2'], 0])
  })

  test('stops waiting when the signal aborts, and ignores what settles after it', async () => {
    const { broker, owner } = setup()
    broker.publish(message('a', 'a1'))
    const abort = new AbortController()
    const closing = owner.lane.close(abort.signal)
    abort.abort()
    await closing
    await owner.take('a1').ack()
    expect(broker.unacked).toEqual(['a1'])
  })

  test('hands out nothing while paused, and released messages again after it', async () => {
    const { broker, owner } = setup()
    broker.publish(message('a', 'a1'), message('a', 'a2'))
    owner.lanes.pause()
    await owner.take('a1').release()
    broker.publish(message('b', 'b1'))
    expect([owner.running, broker.unacked]).toEqual([[], ['a1', 'a2', 'b1']])
    owner.lanes.resume()
    expect(owner.running).toEqual(['b1', 'a1'])
    expect(owner.take('a1').attempt).toBe(1)
  })

  test('ignores what arrives after it', async () => {
    const { broker, owner } = setup()
    owner.lane.lost()
    owner.lane.lost()
    broker.publish(message('a', 'a1'))
    broker.operate('x', 'remove')
    await owner.lane.close(SIGNAL)
    expect([owner.running, owner.calls]).toEqual([[], []])
  })
})
