import { errorText } from '../core/errors.ts'
import type { BusHealth, BusState } from './bus-events.ts'
import type { BusExtension, TransportState } from './port.ts'

/** What the health of a bus is made of. */
export interface HealthParts {
  readonly state: BusState
  readonly links: readonly { readonly inner: { readonly name: string }; readonly state: { readonly state: TransportState; readonly reason: string } }[]
  /** Halted groups, with the code of the error. */
  readonly halted: readonly (readonly [string, string])[]
  readonly extensions: readonly BusExtension[]
}

/** The worst of all parts, with every reason. */
export function healthFrom({ state: busState, links, halted, extensions }: HealthParts): BusHealth {
  const reasons: string[] = []
  let state: BusHealth['state'] = 'up'
  const worsen = (to: BusHealth['state'], reason: string): void => {
    reasons.push(reason)
    if (state !== 'down') state = to
  }
  if (busState !== 'running') worsen('down', `the bus is ${busState}`)
  for (const { inner, state: link } of links) if (link.state !== 'up') worsen(link.state, `${inner.name} is ${link.state}: ${link.reason}`)
  for (const [group, reason] of halted) worsen('down', `the subscription ${group} is halted: ${reason}`)
  for (const extension of extensions) {
    const part = healthOf(extension)
    if (part !== undefined && part.state !== 'up') worsen(part.state, `${extension.name}: ${part.reasons.join('; ')}`)
  }
  return { state, reasons }
}

/** An extension that cannot say how it is, is not well; a link's report must not see its exception. */
function healthOf(extension: BusExtension): BusHealth | undefined {
  try {
    return extension.health?.()
  } catch (error) {
    return { state: 'down', reasons: [`its health check threw: ${errorText(error).slice(0, 200)}`] }
  }
}
