import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Delivery } from '../../../src/bus/port.ts'
import { FakeBroker, Owner, VirtualClock, flush, message, record } from './fake-broker.ts'

// Owners that crash between any two steps, brokers that answer late and in any order, operators who act at any time:
// whatever happens, the promises about order, loss, isolation and attempts hold.

const ACTIONS = [
  'publish', 'publish', 'publish', 'apply', 'apply', 'apply', 'respond', 'respond', 'respond', 'ack', 'ack', 'retry', 'dead',
  'begin', 'begin', 'release', 'resume', 'wait', 'wait', 'flow', 'flow', 'crash', 'zombie', 'close', 'redrive', 'remove', 'repeat',
] as const
type Action = (typeof ACTIONS)[number]
interface Step {
  readonly action: Action
  readonly pick: number
}

interface Open {
  readonly delivery: Delivery
  readonly owner: Owner
  /** The handler has the message; for a suspect only after its attempt was recorded. */
  isRunning: boolean
  isBeginning: boolean
}

const KEYS = ['a', 'a', 'a', 'b', 'c', undefined] as const
const IN_FLIGHT_MAX = 3

class World {
  readonly broker = new FakeBroker()
  readonly clock = new VirtualClock()
  readonly places: 'append' | 'echo'
  owner: Owner
  open: Open[] = []
  /** Owners that the broker has cut off and that do not know it yet. */
  readonly #zombies = new Set<Owner>()
  readonly #accepted = new Map<string, string[]>()
  readonly #first = new Map<string, string[]>()
  readonly #finished = new Set<string>()
  readonly #operated = new Set<string>()
  readonly #runs = new Map<string, number>()
  #published = 0
  /** How often it is unknown whether a beginning or an outcome of the message was stored. */
  readonly #unsure = new Map<string, number>()
  /** Messages whose outcome is on its way to the broker. */
  readonly #settling = new Map<Owner, Set<string>>()
  /** Messages that a handler had when its owner was cut off, until they are delivered again. */
  readonly #interrupted = new Set<string>()
  #owners = 0

  constructor(places: 'append' | 'echo') {
    this.places = places
    this.owner = this.#newOwner()
  }

  async step({ action, pick }: Step): Promise<void> {
    switch (action) {
      case 'publish':
        return this.#publish(pick)
      case 'apply':
        return void this.owner.apply()
      case 'respond':
        return void this.owner.respond(pick)
      case 'flow':
        return await this.#flow()
      case 'ack':
      case 'retry':
      case 'dead':
      case 'release':
        return this.#settle(action, pick)
      case 'begin':
        return this.#begin(pick)
      case 'resume':
        return this.owner.lanes.resume()
      case 'wait':
        return this.clock.advance(pick * 200)
      case 'crash':
      case 'zombie':
        return this.#replace(action === 'zombie')
      case 'close':
        return await this.#close()
      case 'redrive':
      case 'remove':
        return this.#operate(action, pick)
      case 'repeat':
        return this.#repeat(pick)
    }
  }

  /** Nothing goes wrong any more, and every handler succeeds. */
  async drain(): Promise<void> {
    this.#replace(false)
    for (let round = 0; round < 2_000; round++) {
      this.owner.lanes.resume()
      await this.#flow()
      await flush()
      const mine = this.open.filter(({ owner }) => owner === this.owner)
      if (mine.length === 0 && this.clock.armed === 0 && !this.owner.apply()) return
      this.clock.advance(1_000)
      for (const { isRunning } of mine) if (isRunning) this.#settle('ack', 0)
      this.#begin(0)
    }
    expect.fail('the lane does not come to rest')
  }

  check(): void {
    for (const [key, ids] of this.#accepted) {
      const first = this.#first.get(key) ?? []
      expect(first, 'first handled in the order accepted').toEqual(ids.filter((id) => first.includes(id)))
    }
    const dead = this.broker.hold.flatMap(({ entry }) => (entry.role === 'head' && entry.state === 'dead' ? [entry] : []))
    const letters = new Set(this.broker.deadLetters.keys())
    expect(dead.filter(({ id }) => !letters.has(id)), 'every dead head has its dead letter').toEqual([])
    for (const { id } of dead) letters.delete(id)
    expect([...letters].filter((id) => !this.#operated.has(id)), 'a dead letter that holds nothing was acted on during a take-over').toEqual([])
    const held = new Set(dead.map((entry) => entry.message.key ?? entry.message.id))
    for (const [key, ids] of this.#accepted) {
      for (const id of ids) {
        const isKept = this.broker.unacked.includes(id) || this.broker.hold.some(({ entry }) => entry.role !== 'control' && entry.message.id === id)
        if (this.#finished.has(id) && !held.has(key)) expect(isKept, `${id} is done and gone`).toBe(false)
        else expect(this.#finished.has(id) || isKept, `${id} is neither done nor kept`).toBe(true)
        if (!held.has(key)) expect(this.#finished.has(id), `${id} waits for nothing`).toBe(true)
      }
    }
    expect(this.broker.hold.filter(({ entry }) => entry.role === 'control'), 'no wish is left').toEqual([])
  }

  #newOwner(): Owner {
    const owner: Owner = new Owner(
      this.broker,
      this.clock,
      { inFlightMax: IN_FLIGHT_MAX, liveMax: 4, places: this.places, isManual: true, seed: ++this.#owners },
      (delivery) => {
        this.#received(owner, delivery)
      },
    )
    return owner.start()
  }

  #received(owner: Owner, delivery: Delivery): void {
    const { message: { id, key }, attempt } = delivery
    const mine = this.open.filter((one) => one.owner === owner)
    expect(mine.length, 'the window is kept').toBeLessThan(IN_FLIGHT_MAX)
    expect(mine.some((one) => key !== undefined && one.delivery.message.key === key), 'one at a time per key').toBe(false)
    if (this.#zombies.has(owner)) this.#doubt(id)
    else if (this.#interrupted.delete(id)) expect(delivery.isSuspect || delivery.isRedriven, `${id} may kill its process`).toBe(true)
    const runs = this.#runs.get(id) ?? 0
    expect(Math.abs(attempt - runs - 1), 'attempts are off by interruptions only').toBeLessThanOrEqual(this.#unsure.get(id) ?? 0)
    const open = { delivery, owner, isRunning: false, isBeginning: false }
    this.open.push(open)
    if (!delivery.isSuspect) this.#run(open)
  }

  /** The handler gets the message. */
  #run(open: Open): void {
    const { id, key } = open.delivery.message
    open.isRunning = true
    this.#runs.set(id, (this.#runs.get(id) ?? 0) + 1)
    const name = key ?? id
    const before = (this.#accepted.get(name) ?? []).slice(0, this.#accepted.get(name)?.indexOf(id))
    expect(before.filter((earlier) => !this.#finished.has(earlier)), `${id} runs although earlier ones are not done`).toEqual([])
    const first = this.#first.get(name) ?? []
    if (!first.includes(id)) first.push(id)
    this.#first.set(name, first)
  }

  #publish(pick: number): void {
    const key = KEYS[Math.floor(pick * KEYS.length)]
    for (let burst = (pick * 100) % 4; burst >= 0; burst--) {
      const id = `${key ?? 'none'}${++this.#published}`
      this.#accepted.set(key ?? id, [...(this.#accepted.get(key ?? id) ?? []), id])
      this.broker.publish(message(key, id))
    }
  }

  #settle(how: 'ack' | 'retry' | 'dead' | 'release', pick: number): void {
    const running = this.open.filter(({ isRunning, isBeginning }) => isRunning || (how === 'release' && !isBeginning))
    const open = running[Math.floor(pick * running.length)]
    if (open === undefined) return
    this.open = this.open.filter((other) => other !== open)
    const { delivery } = open
    // A process that died settles nothing; one that was cut off may still try.
    if (how === 'ack') {
      this.#finished.add(delivery.message.id)
      this.#follow(open, delivery.ack())
    } else if (how === 'retry') {
      this.#follow(open, delivery.retry(Math.floor(pick * 100)))
    } else if (how === 'dead') {
      this.#follow(open, delivery.deadLetter(record()))
    } else {
      // What a zombie gives back stays counted: it cannot say so any more.
      if (open.isRunning && !this.#zombies.has(open.owner)) this.#runs.set(delivery.message.id, (this.#runs.get(delivery.message.id) ?? 1) - 1)
      this.#follow(open, delivery.release())
    }
  }

  #follow({ owner, delivery }: Open, settled: Promise<void> | undefined): void {
    if (this.#zombies.has(owner)) return
    const ids = this.#settling.get(owner) ?? new Set()
    this.#settling.set(owner, ids.add(delivery.message.id))
    void Promise.resolve(settled).then(() => ids.delete(delivery.message.id))
  }

  #doubt(id: string): void {
    this.#unsure.set(id, (this.#unsure.get(id) ?? 0) + 1)
  }

  #begin(pick: number): void {
    const waiting = this.open.filter(({ isRunning, isBeginning }) => !isRunning && !isBeginning)
    const open = waiting[Math.floor(pick * waiting.length)]
    if (open === undefined) return
    open.isBeginning = true
    open.delivery.begin().then(
      () => {
        open.isBeginning = false
        if (this.open.includes(open)) this.#run(open)
      },
      () => {
        this.open = this.open.filter((other) => other !== open)
      },
    )
  }

  /** The broker does and answers everything. */
  async #flow(): Promise<void> {
    while (this.owner.apply() || this.owner.respond()) await flush()
  }

  #replace(isZombie: boolean): void {
    const before = this.owner
    before.crash()
    for (const id of this.#settling.get(before) ?? []) this.#doubt(id)
    for (const { owner, delivery, isRunning } of this.open) {
      if (owner !== before) continue
      // The beginning of a suspect's attempt is stored before the handler gets it.
      if (!isRunning || !delivery.isSuspect) this.#doubt(delivery.message.id)
      if (isRunning) this.#interrupted.add(delivery.message.id)
    }
    if (isZombie) this.#zombies.add(before)
    else this.open = this.open.filter(({ owner }) => owner !== before)
    // An earlier zombie learns now that it has lost the lane.
    for (const zombie of this.#zombies) if (zombie !== before) zombie.lane.lost()
    this.owner = this.#newOwner()
    if (!isZombie) before.lane.lost()
  }

  async #close(): Promise<void> {
    const abort = new AbortController()
    const closing = this.owner.lane.close(abort.signal)
    await this.#flow()
    abort.abort()
    await closing
    this.#replace(false)
  }

  #operate(control: 'redrive' | 'remove', pick: number): void {
    const ids = [...this.broker.deadLetters]
    const chosen = ids[Math.floor(pick * ids.length)]
    if (chosen === undefined) return
    const [target, dead] = chosen
    if (control === 'remove') this.#finished.add(dead.message.id)
    this.#runs.set(dead.message.id, 0)
    this.#operated.add(target)
    this.broker.operate(target, control)
  }

  #repeat(pick: number): void {
    const row = this.broker.live[Math.floor(pick * this.broker.live.length)]
    if (row !== undefined && row.deliveries > 0 && !row.isAcked) this.owner.repeat(row.message.id)
  }
}

// Doubles would nearly all be close to 0.
const pick = fc.integer({ min: 0, max: 99 }).map((percent) => percent / 100)
const steps = fc.array(fc.record({ action: fc.constantFrom(...ACTIONS), pick }), { maxLength: 120, size: 'max' })

test.each([{ places: 'append' as const }, { places: 'echo' as const }])('keeps every promise through crashes at any step, places by $places', async ({ places }) => {
  const runs = Number(process.env['LANE_RUNS'] ?? 200)
  await fc.assert(
    fc.asyncProperty(steps, async (todo) => {
      const world = new World(places)
      for (const step of todo) {
        await world.step(step)
        await flush()
      }
      await world.drain()
      world.check()
    }),
    { numRuns: runs },
  )
}, 120_000)
