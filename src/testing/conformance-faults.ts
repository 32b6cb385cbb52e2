import { deepEqual, equal, ok } from 'node:assert/strict'
import type { Bus } from '../bus/bus.ts'
import { type DecideRetry, reject } from '../bus/retry-policy.ts'
import { isTrunklineError } from '../core/errors.ts'
import { type ConformanceCase, casesOf } from './conformance-case.ts'
import { Moved, Quote, Ticked, Tocked } from './conformance-contracts.ts'
import { KeyLog, isInOrder } from './conformance-order.ts'
import { type Stage, range, refusal, userError } from './conformance-stage.ts'

/** A link or a broker was broken; everything is well again within this time. */
const RECOVERY_MS_MAX = 60_000

/** A publisher that goes on through faults and remembers what it was told is stored. */
class Load {
  readonly accepted = new Set<number>()
  failed = 0
  readonly #bus: Bus
  readonly #running: Promise<void>[] = []
  #n = 0
  #isOn = true

  constructor(bus: Bus, lanes: number) {
    this.#bus = bus
    for (const _lane of range(1, lanes)) this.#running.push(this.#run())
  }

  async #run(): Promise<void> {
    while (this.#isOn) {
      const n = ++this.#n
      try {
        await this.#bus.publish(Ticked, { n })
        this.accepted.add(n)
      } catch {
        this.failed++
      }
    }
  }

  /** Resolves when every publish has ended, one way or the other. */
  async stop(): Promise<void> {
    this.#isOn = false
    await Promise.all(this.#running)
  }
}

/** Load on a group, a fault in the middle, and everything accepted is handled. */
async function survives(stage: Stage, breakIt: (stage: Stage) => Promise<void>, isKilled = false): Promise<void> {
  const seen = new Set<number>()
  const consumer = stage.bus('shop', { defaults: { publishTimeoutMs: RECOVERY_MS_MAX } })
  consumer.on(Ticked, { group: 'work', inFlightMax: 32 }, ({ data }) => seen.add(data.n))
  const publisher = stage.bus('publisher', { defaults: { publishTimeoutMs: RECOVERY_MS_MAX } })
  await Promise.all([consumer.start(), publisher.start()])
  if (isKilled) await stage.faults.settle()
  await stage.until('the links are up', () => isUp(consumer) && isUp(publisher), RECOVERY_MS_MAX)
  const load = new Load(publisher, 16)
  await stage.until('messages flow', () => load.accepted.size >= 200 && seen.size >= 100, RECOVERY_MS_MAX)
  await breakIt(stage)
  const before = load.accepted.size
  await stage.until('publishing goes on', () => load.accepted.size >= before + 200, RECOVERY_MS_MAX)
  await load.stop()
  await stage.until(
    'everything that was accepted is handled',
    () => [...load.accepted].every((n) => seen.has(n)),
    RECOVERY_MS_MAX,
  )
  await stage.until('both are well again', () => isUp(consumer) && isUp(publisher), RECOVERY_MS_MAX)
  equal(load.failed, 0, 'a publish waits for the broker to come back')
}

function isUp(bus: Bus): boolean {
  return bus.health().state === 'up'
}

/** What happens when brokers and links break. These cases need a broker of their own. */
export const faultCases: readonly ConformanceCase[] = casesOf('faults', [], [
  {
    name: 'loses nothing when the broker restarts under load',
    needs: ['canStore', 'survivesBrokerRestart'],
    uses: 'faults',
    run: (stage) => survives(stage, ({ faults }) => faults.restart()),
  },
  {
    name: 'loses nothing when the broker is killed under load',
    needs: ['canStore', 'survivesBrokerRestart'],
    uses: 'faults',
    run: (stage) =>
      survives(
        stage,
        async ({ faults }) => {
          await faults.kill()
          await faults.start()
        },
        true,
      ),
  },
  {
    name: 'loses nothing when links are cut again and again under load',
    needs: ['canStore'],
    uses: 'faults',
    run: (stage) =>
      survives(stage, async ({ faults }) => {
        for (const _round of range(1, 5)) {
          await faults.cutLinks()
          await stage.pause(60)
        }
      }),
  },
  {
    name: 'notices a link that has gone silent, and loses nothing',
    needs: ['canStore'],
    uses: 'faults',
    run: (stage) =>
      survives(stage, async ({ faults }) => {
        const watcher = stage.bus('watcher')
        await watcher.start()
        await faults.halfOpen()
        try {
          await stage.until('health shows the silence', () => watcher.health().state !== 'up', 40_000)
        } finally {
          await faults.heal()
        }
        await stage.until('the link is up again', () => isUp(watcher), RECOVERY_MS_MAX)
      }),
  },
  {
    name: 'shows a broker that is gone in its health, and its return',
    needs: ['canStore', 'survivesBrokerRestart'],
    uses: 'faults',
    async run(stage) {
      const states: string[] = []
      const seen: number[] = []
      const bus = stage.bus().on(Ticked, { group: 'work' }, ({ data }) => seen.push(data.n))
      bus.observe((event) => {
        if (event.kind === 'health-changed') states.push(event.health.state)
      })
      await bus.start()
      await stage.until('the link is up', () => isUp(bus), RECOVERY_MS_MAX)
      states.length = 0
      await stage.faults.stop()
      await stage.until('health shows it', () => bus.health().state !== 'up', RECOVERY_MS_MAX)
      ok(bus.health().reasons.length > 0)
      equal(bus.state, 'running')
      await stage.faults.start()
      await stage.until('health shows the return', () => isUp(bus), RECOVERY_MS_MAX)
      ok(states.some((state) => state !== 'up') && states.at(-1) === 'up', states.join(', '))
      await bus.publish(Ticked, { n: 1 })
      await stage.until('the subscription goes on', () => seen.includes(1), RECOVERY_MS_MAX)
    },
  },
  {
    name: 'lets a publish wait for the broker within its time, and fail after it',
    needs: ['canStore', 'survivesBrokerRestart'],
    uses: 'faults',
    async run(stage) {
      const seen = new Set<number>()
      const bus = stage.bus().on(Ticked, { group: 'work' }, ({ data }) => seen.add(data.n))
      await bus.start()
      await stage.until('the link is up', () => isUp(bus), RECOVERY_MS_MAX)
      await stage.faults.stop()
      await stage.until('health shows it', () => bus.health().state !== 'up', RECOVERY_MS_MAX)
      const patient = bus.publish(Ticked, { n: 1 }, { timeoutMs: RECOVERY_MS_MAX })
      await refusal(() => bus.publish(Ticked, { n: 2 }, { timeoutMs: 200 }), 'bus.publish_timeout')
      await stage.faults.start()
      await patient
      await stage.until('the patient one is handled', () => seen.has(1), RECOVERY_MS_MAX)
    },
  },
  {
    name: 'keeps groups and dead letters when the broker is killed',
    needs: ['canStore', 'survivesBrokerRestart', 'canManageDeadLetters'],
    uses: 'faults',
    async run(stage) {
      const absent = stage.bus('absent').on(Ticked, { group: 'work' }, () => {}).on(Tocked, { group: 'more' }, () => {})
      await absent.start()
      await absent.stop()
      const gate = stage.gate()
      const begun = new Set<number>()
      const bus = stage.bus('shop').on(Ticked, { group: 'work' }, async ({ data }) => {
        begun.add(data.n)
        if (data.n !== 1) return
        await gate.opened
        throw reject('never')
      })
      await bus.start()
      await stage.faults.settle()
      await stage.until('the link is up', () => isUp(bus), RECOVERY_MS_MAX)
      for (const n of [2, 1]) await bus.publish(Ticked, { n }, { timeoutMs: RECOVERY_MS_MAX })
      await stage.until('both are with the handler', () => begun.size === 2, RECOVERY_MS_MAX)
      // What is surely stored after it: now the broker also remembers who has the first one, and maybe not what becomes of it.
      await bus.publish(Tocked, { n: 3 }, { timeoutMs: RECOVERY_MS_MAX })
      gate.open()
      await stage.until('one is dead', async () => (await bus.deadLetters.list()).items.length === 1, RECOVERY_MS_MAX)
      await stage.faults.kill()
      await stage.faults.start()
      await stage.until('the link is up again', () => isUp(bus), RECOVERY_MS_MAX)
      await stage.until('the dead letter is there', async () => (await bus.deadLetters.list()).items.length === 1, RECOVERY_MS_MAX)
      const late: number[] = []
      await stage.bus('absent').on(Ticked, { group: 'work' }, ({ data }) => late.push(data.n)).start()
      await stage.until('the absent group has its messages', () => new Set(late).size === 2, RECOVERY_MS_MAX)
    },
  },
  {
    name: 'keeps a delayed message when the broker is killed',
    needs: ['canStore', 'survivesBrokerRestart', 'canDelayRetry'],
    uses: 'faults',
    async run(stage) {
      const seen: string[] = []
      const decide: DecideRetry = ({ disposition }) => (disposition === 'reject' ? undefined : { kind: 'retry', delayMs: 4_000 })
      const absent = stage.bus('absent').on(Tocked, { group: 'more' }, () => {})
      await absent.start()
      await absent.stop()
      const gate = stage.gate()
      let hasBegun = false
      const bus = stage.bus('shop').on(Ticked, { group: 'work', decide }, async ({ data }, { attempt }) => {
        hasBegun = true
        await gate.opened
        if (attempt === 1) throw userError('later')
        seen.push(`shop ${data.n} ${attempt}`)
      })
      await bus.start()
      await stage.faults.settle()
      await stage.until('the link is up', () => isUp(bus), RECOVERY_MS_MAX)
      await bus.publish(Ticked, { n: 2 }, { timeoutMs: RECOVERY_MS_MAX })
      await stage.until('it is with the handler', () => hasBegun, RECOVERY_MS_MAX)
      // What is surely stored after it: now the broker also remembers who has it, and maybe not what becomes of it.
      await bus.publish(Tocked, { n: 3 }, { timeoutMs: RECOVERY_MS_MAX })
      gate.open()
      await stage.until('it is delayed', () => bus.stats().retried === 1, RECOVERY_MS_MAX)
      await stage.faults.kill()
      await stage.faults.start()
      await stage.until('the link is up again', () => isUp(bus), RECOVERY_MS_MAX)
      await stage.until(
        'the delayed one is handled',
        () => {
          // Its attempts may be more than two: a death of the broker can undo that it was acknowledged.
          ok(seen.some((text) => text.startsWith('shop 2 ')), `handled so far: ${seen.join(', ')}; retried: ${bus.stats().retried}`)
          return true
        },
        RECOVERY_MS_MAX,
      )
    },
  },
  {
    name: 'keeps the order of every key when the broker is killed',
    needs: ['canStore', 'survivesBrokerRestart', 'canOrderByKey'],
    uses: 'faults',
    run: keepsOrderThroughDeath,
  },
  {
    name: 'ends every ask when links are cut, and answers again after that',
    needs: ['canRequest'],
    uses: 'faults',
    async run(stage) {
      const answering = stage.bus('pricing').answer(Quote, async ({ data }) => {
        await stage.pause(1)
        return { text: `${data.n}` }
      })
      const asking = stage.bus('shop')
      await Promise.all([answering.start(), asking.start()])
      const outcomes = new Map<string, number>()
      let isOn = true
      const lanes = range(1, 8).map(async (lane) => {
        for (let n = lane; isOn; n += 8) {
          const outcome = await asking.ask(Quote, { n }, { timeoutMs: 500 }).then(
            ({ text }) => (text === `${n}` ? 'answered' : 'wrong'),
            (error: unknown) => (isTrunklineError(error) ? error.code : 'other'),
          )
          outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
        }
      })
      await stage.until('questions are answered', () => (outcomes.get('answered') ?? 0) >= 50, RECOVERY_MS_MAX)
      for (const _round of range(1, 3)) {
        await stage.faults.cutLinks()
        const before = outcomes.get('answered') ?? 0
        await stage.until('questions are answered again', () => (outcomes.get('answered') ?? 0) >= before + 50, RECOVERY_MS_MAX)
      }
      isOn = false
      await Promise.all(lanes)
      const allowed = new Set(['answered', 'bus.ask_timeout', 'bus.no_responder', 'bus.connection_lost'])
      deepEqual([...outcomes.keys()].filter((outcome) => !allowed.has(outcome)), [])
    },
  },
  {
    name: 'hears broadcasts again after its link was cut',
    needs: ['canBroadcast'],
    uses: 'faults',
    async run(stage) {
      const seen = new Set<number>()
      const bus = stage.bus().on(Ticked, { broadcast: true }, ({ data }) => seen.add(data.n))
      const sender = stage.bus('sender')
      await Promise.all([bus.start(), sender.start()])
      await stage.faults.cutLinks()
      let n = 0
      await stage.until('a broadcast comes through', async () => {
        await sender.broadcast(Ticked, { n: ++n })
        await stage.pause(20)
        return seen.size > 0
      }, RECOVERY_MS_MAX)
    },
  },
])

async function keepsOrderThroughDeath(stage: Stage): Promise<void> {
  const log = new KeyLog()
  for (const _instance of [1, 2]) {
    const bus = stage.bus('shop').on(Moved, { group: 'ordered', order: 'key', inFlightMax: 8 }, async ({ data }) => {
      await stage.pause(2)
      log.add(data.key, data.n)
    })
    await bus.start()
  }
  const publisher = stage.bus('publisher', { defaults: { publishTimeoutMs: RECOVERY_MS_MAX } })
  await publisher.start()
  await stage.faults.settle()
  await stage.until('the link is up', () => isUp(publisher), RECOVERY_MS_MAX)
  const keys = range(1, 16).map((n) => `key-${n}`)
  // One publish per key at a time: what is pending when a link breaks may be stored in any order.
  const publishing = Promise.all(
    keys.map(async (key) => {
      for (const n of range(1, 20)) await publisher.publish(Moved, { key, n })
    }),
  )
  await stage.until('work is under way', () => log.count >= 60, RECOVERY_MS_MAX)
  await stage.faults.kill()
  await stage.faults.start()
  await publishing
  await stage.until('all is handled', () => keys.every((key) => new Set(log.of(key)).size === 20), RECOVERY_MS_MAX)
  for (const key of keys) isInOrder(key, log.of(key), 20)
}
