import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Bus, reject } from '../../../src/index.ts'
import { BusRig, Placed } from '../../bus/bus-rig.ts'

type Outcome = 'ok' | 'fail' | 'reject'

interface Plan {
  readonly keys: readonly string[]
  /** What becomes of one attempt after the other, over all messages; `ok` when there is nothing left. */
  readonly outcomes: readonly Outcome[]
  /** Milliseconds that handlers take, in turn. */
  readonly pacesMs: readonly number[]
  /** Message after whose publishing the first instance is cut off. */
  readonly severAfter: number | undefined
  readonly inFlightMax: number
}

const plans: fc.Arbitrary<Plan> = fc.record({
  keys: fc.array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 25 }),
  outcomes: fc.array(fc.constantFrom<Outcome>('ok', 'ok', 'fail', 'fail', 'reject'), { maxLength: 40 }),
  pacesMs: fc.array(fc.nat({ max: 300 }), { minLength: 1, maxLength: 10 }),
  severAfter: fc.option(fc.nat({ max: 24 }), { nil: undefined }),
  inFlightMax: fc.integer({ min: 1, max: 4 }),
})

class Run {
  readonly done: number[] = []
  readonly running = new Map<string, number>()
  overlaps = 0
  #outcome = 0
  #pace = 0
  readonly #plan: Plan
  readonly #rig: BusRig

  constructor(plan: Plan, rig: BusRig) {
    this.#plan = plan
    this.#rig = rig
  }

  member(order: 'key' | 'none'): Bus {
    const bus = this.#rig.bus()
    const isCutOff = (): boolean => this.cutOff === bus
    bus.on(Placed, { group: 'g', order, inFlightMax: this.#plan.inFlightMax, retry: { attemptsMax: 3, initialMs: 1_000 } }, async ({ key = '', data }) => {
      if (isCutOff()) return
      const outcome = this.#plan.outcomes[this.#outcome++] ?? 'ok'
      if ((this.running.get(key) ?? 0) > 0) this.overlaps++
      this.running.set(key, (this.running.get(key) ?? 0) + 1)
      const paceMs = this.#plan.pacesMs[this.#pace++ % this.#plan.pacesMs.length] ?? 0
      await new Promise<void>((resolve) => this.#rig.clock.setTimer(paceMs, resolve))
      if (isCutOff()) return
      this.running.set(key, (this.running.get(key) ?? 1) - 1)
      if (outcome === 'fail') throw new Error('again')
      if (outcome === 'reject') throw reject('never')
      this.done.push(data.total)
    })
    return bus
  }

  cutOff: Bus | undefined

  async all(order: 'key' | 'none'): Promise<void> {
    const { clock, broker } = this.#rig
    const [first, second] = [this.member(order), this.member(order)]
    await first.start()
    await second.start()
    for (const [index, orderId] of this.#plan.keys.entries()) {
      await second.publish(Placed, { orderId, total: index })
      await clock.advance(20)
      if (index !== this.#plan.severAfter) continue
      this.cutOff = first
      broker.sever(first.instance)
      this.running.clear()
    }
    // Operators take everything out of the dead letters until nothing is left.
    for (let rounds = 0; rounds < 100 && broker.size > 0; rounds++) {
      await clock.advance(60_000)
      await second.deadLetters.redriveAll({})
    }
    await clock.advance(60_000)
    expect(broker.size).toBe(0)
  }
}

const numbersOf = (plan: Plan, key: string): number[] => plan.keys.flatMap((one, index) => (one === key ? [index] : []))

test('an ordered group handles every message of a key in order and one at a time, through failures, dead letters and deaths', async () => {
  await fc.assert(
    fc.asyncProperty(plans, async (plan) => {
      await using rig = new BusRig()
      const run = new Run(plan, rig)
      await run.all('key')
      expect(run.overlaps).toBe(0)
      for (const key of ['a', 'b', 'c']) expect(run.done.filter((index) => plan.keys[index] === key)).toEqual(numbersOf(plan, key))
    }),
    { numRuns: 60 },
  )
})

test('a group without order handles every message once, through failures, dead letters and deaths', async () => {
  await fc.assert(
    fc.asyncProperty(plans, async (plan) => {
      await using rig = new BusRig()
      const run = new Run(plan, rig)
      await run.all('none')
      expect(run.done.toSorted((left, right) => left - right)).toEqual(plan.keys.map((_key, index) => index))
    }),
    { numRuns: 60 },
  )
})
