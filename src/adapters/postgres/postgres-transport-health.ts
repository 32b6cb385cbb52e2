import type { TransportHost, TransportState } from '../../bus/port.ts'

/** What can be less than well on its own. */
export type PgTransportPart = 'database' | 'publishing' | 'consuming' | 'wake-up'

const ORDER: readonly TransportState[] = ['up', 'degraded', 'down']

/** Folds how the parts are into one state: that of the worst part, with its reason. */
export class PgTransportHealth {
  readonly #host: TransportHost
  readonly #parts = new Map<PgTransportPart, { readonly state: TransportState; readonly reason: string }>()
  #reported = ''

  constructor(host: TransportHost) {
    this.#host = host
  }

  set(part: PgTransportPart, state: TransportState, reason: string): void {
    this.#parts.set(part, { state, reason })
    let worst: { readonly state: TransportState; readonly reason: string } = { state: 'up', reason: 'connected' }
    for (const each of this.#parts.values()) if (ORDER.indexOf(each.state) > ORDER.indexOf(worst.state)) worst = each
    const report = `${worst.state} ${worst.reason}`
    if (report === this.#reported) return
    this.#reported = report
    this.#host.report(worst.state, worst.reason)
  }
}
