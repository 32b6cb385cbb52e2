// A process of its own for transport-sqlite.ts: an idle service, or a publisher. It writes lines of JSON and ends when its input ends.
import { readFileSync, readdirSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { sqlite } from '../src/adapters/sqlite/index.ts'
import { createBus } from '../src/index.ts'
import { Order, Quote, Sighting, order, quote } from './payload.ts'

/** What this process is told. */
export interface PeerSettings {
  readonly file: string
  readonly role: 'idle' | 'publisher'
  readonly watch: boolean
  /** Idle time that is measured, or time between two messages. */
  readonly ms: number
  readonly count: number
}

/** What an idle process cost. */
export interface IdleCost {
  /** Times a second that any thread of the process went from waiting to running. */
  readonly wakeUps: number
  /** Percent of one core. */
  readonly cpu: number
}

const SUBSCRIPTIONS = 10
/** Starting a process and compiling its code is not idling. */
const SETTLE_MS = 5_000

const settings: PeerSettings = JSON.parse(process.argv[2] ?? '{}')
process.stdin.on('end', () => process.exit(0)).resume()
const { transport } = sqlite({ file: settings.file, watch: settings.watch })
const bus = createBus({ service: { name: settings.role }, transport })

if (settings.role === 'idle') {
  for (let number = 0; number < SUBSCRIPTIONS; number++) bus.on([Order, Sighting], { group: `idle-${settings.watch}-${number}` }, () => {})
  bus.answer(Quote, () => quote)
  await bus.start()
  await wait(SETTLE_MS)
  const before = spent()
  await wait(settings.ms)
  const after = spent()
  const seconds = settings.ms / 1_000
  const cost: IdleCost = { wakeUps: (after.switches - before.switches) / seconds, cpu: (after.cpuMs - before.cpuMs) / 10 / seconds }
  console.log(JSON.stringify(cost))
} else {
  await bus.start()
  console.log(JSON.stringify('ready'))
  for (let sent = 0; sent < settings.count; sent++) {
    await wait(settings.ms)
    // The monotonic clock of the machine, the same for all its processes.
    await bus.publish(Order, { ...order, note: String(process.hrtime.bigint()) })
  }
}
await bus.stop()
process.exit(0)

/** How often the threads of this process have waited for something, and the time that they have run. */
function spent(): { readonly switches: number; readonly cpuMs: number } {
  let switches = 0
  for (const thread of readdirSync('/proc/self/task')) {
    const status = readFileSync(`/proc/self/task/${thread}/status`, 'utf8')
    switches += Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1] ?? 0)
  }
  const { user, system } = process.cpuUsage()
  return { switches, cpuMs: (user + system) / 1_000 }
}
