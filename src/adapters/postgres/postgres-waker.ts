import type { TransportHost } from '../../bus/port.ts'
import type { Timer } from '../../core/clock.ts'
import type { PgLink } from './postgres-link.ts'
import { PgStatement } from './postgres-rows.ts'

/** Shortest time between two wake-ups by one process. */
const WAKE_EVERY_MS = 5
/** Groups named in one payload; where there are more, they are told in the next ones. */
const GROUPS_MAX = 500

// Never in the transaction that stores: the lock that NOTIFY holds to the end of its commit would make all of them queue for the disk (P-11).
const NOTIFY = new PgStatement(
  "WITH quick AS (SELECT set_config('synchronous_commit', 'off', true)) SELECT pg_notify($1, $2) FROM quick",
)

/** What the waker needs. */
export interface WakerOptions {
  readonly link: PgLink
  readonly host: TransportHost
  readonly address: string
  readonly channel: string
}

/** Tells other instances which groups have something to claim: at once, or together with what comes in the next moment. */
export class PgWaker {
  readonly channel: string
  readonly #options: WakerOptions
  readonly #pending = new Set<number>()
  #timer: Timer | undefined
  #toldAtMs = Number.NEGATIVE_INFINITY
  #isClosed = false

  constructor(options: WakerOptions) {
    this.#options = options
    this.channel = options.channel
  }

  /** @param groups each with whether other instances are in it. */
  tell(groups: ReadonlyMap<number, boolean>): void {
    for (const [group, isForeign] of groups) if (isForeign) this.#pending.add(group)
    if (this.#pending.size === 0 || this.#timer !== undefined || this.#isClosed) return
    const { clock } = this.#options.host
    const waitMs = this.#toldAtMs + WAKE_EVERY_MS - clock.monotonicMs()
    if (waitMs <= 0) this.#flush()
    else {
      this.#timer = clock.setTimer(waitMs, () => {
        this.#timer = undefined
        this.#flush()
      }, { background: true })
    }
  }

  /** Groups in a payload that another instance has sent. */
  groupsIn(payload: string): readonly number[] {
    const [address, groups = ''] = payload.split(' ', 2)
    return address === this.#options.address ? [] : groups.split(',').map(Number).filter(Number.isSafeInteger)
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
  }

  #flush(): void {
    const { link, host, address } = this.#options
    const groups = [...this.#pending].slice(0, GROUPS_MAX)
    for (const group of groups) this.#pending.delete(group)
    this.#toldAtMs = host.clock.monotonicMs()
    // Whoever does not hear it finds it by looking.
    link.run({ statement: NOTIFY, values: [this.channel, `${address} ${groups.join(',')}`] }).catch(() => undefined)
    if (this.#pending.size > 0) this.tell(new Map())
  }
}
