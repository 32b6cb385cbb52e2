import type { TransportHost, TransportState } from '../../bus/port.ts'

/** What can be less than well on its own. */
export type SqlitePart = 'writing' | 'consuming' | 'wake-up' | 'file' | 'log'

const ORDER: readonly TransportState[] = ['up', 'degraded', 'down']

type Report = TransportHost['report']

/** Folds how the parts are into one state, that of the worst part with its reason, and tells everybody who uses the file. */
export class SqliteHealth {
  readonly #reports = new Set<Report>()
  readonly #parts = new Map<SqlitePart, { readonly state: TransportState; readonly reason: string }>()
  #reported: { readonly state: TransportState; readonly reason: string } | undefined

  /** Adds one who wants to know, from how it is now on. */
  add(report: Report): void {
    this.#reports.add(report)
    if (this.#reported !== undefined) report(this.#reported.state, this.#reported.reason)
  }

  remove(report: Report): void {
    this.#reports.delete(report)
  }

  set(part: SqlitePart, state: TransportState, reason: string): void {
    const known = this.#parts.get(part)
    if (known?.state === state && known.reason === reason) return
    this.#parts.set(part, { state, reason })
    let worst: { readonly state: TransportState; readonly reason: string } = { state: 'up', reason: 'the file can be read and written' }
    for (const each of this.#parts.values()) if (ORDER.indexOf(each.state) > ORDER.indexOf(worst.state)) worst = each
    if (worst.state === this.#reported?.state && worst.reason === this.#reported.reason) return
    this.#reported = worst
    for (const report of this.#reports) report(worst.state, worst.reason)
  }
}
