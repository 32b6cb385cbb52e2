import type { TransportHost, TransportState } from '../../bus/port.ts'

/** What can be less than well on its own. */
export type SqlitePart = 'publishing' | 'consuming' | 'wake-up' | 'file' | 'log'

const ORDER: readonly TransportState[] = ['up', 'degraded', 'down']

/** Folds how the parts are into one state: that of the worst part, with its reason. */
export class SqliteHealth {
  readonly #host: TransportHost
  readonly #parts = new Map<SqlitePart, { readonly state: TransportState; readonly reason: string }>()
  #reported = ''

  constructor(host: TransportHost) {
    this.#host = host
  }

  set(part: SqlitePart, state: TransportState, reason: string): void {
    const known = this.#parts.get(part)
    if (known?.state === state && known.reason === reason) return
    this.#parts.set(part, { state, reason })
    let worst: { readonly state: TransportState; readonly reason: string } = { state: 'up', reason: 'the file can be read and written' }
    for (const each of this.#parts.values()) if (ORDER.indexOf(each.state) > ORDER.indexOf(worst.state)) worst = each
    const report = `${worst.state} ${worst.reason}`
    if (report === this.#reported) return
    this.#reported = report
    this.#host.report(worst.state, worst.reason)
  }
}
