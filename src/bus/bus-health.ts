import { errorText } from '../core/errors.ts'
import type { BusHealth, BusState } from './bus-events.ts'
import type { BusExtension, HealthPart, TransportState } from './port.ts'

/** What the health of a bus is made of. */
export interface HealthSources {
  readonly state: BusState
  readonly links: readonly { readonly inner: { readonly name: string }; readonly state: { readonly state: TransportState; readonly reason: string } }[]
  /** Halted groups, with the code of the error. */
  readonly halted: readonly (readonly [string, string])[]
  /** Paused groups, with the reason. */
  readonly paused: readonly (readonly [string, string])[]
  readonly extensions: readonly BusExtension[]
}

/** Every part with its state and reasons, as sentences that stand alone. */
export function healthParts({ state: busState, links, halted, paused, extensions }: HealthSources): readonly HealthPart[] {
  const bus: HealthPart = { name: 'bus', state: busState === 'running' ? 'up' : 'down', reasons: busState === 'running' ? [] : [`the bus is ${busState}`] }
  const ofLinks = links.map(({ inner, state: { state, reason } }) => ({ name: inner.name, state, reasons: state === 'up' ? [] : [`${inner.name} is ${state}: ${reason}`] }))
  const ofHalted = halted.map(([group, reason]): HealthPart => ({ name: group, state: 'down', reasons: [`the subscription ${group} is halted: ${reason}`] }))
  const ofPaused = paused.map(([group, reason]): HealthPart => ({ name: group, state: 'degraded', reasons: [`the subscription ${group} is paused: ${reason}`] }))
  return [bus, ...ofLinks, ...ofHalted, ...ofPaused, ...extensions.flatMap(partsOf)]
}

/** The worst of all parts, with every reason. */
export function healthFrom(parts: readonly HealthPart[]): BusHealth {
  const ill = parts.filter(({ state }) => state !== 'up')
  const state = ill.some((part) => part.state === 'down') ? 'down' : ill.length > 0 ? 'degraded' : 'up'
  return { state, reasons: ill.flatMap(({ reasons }) => reasons) }
}

/** An extension that cannot say how it is, is not well; a link's report must not see its exception. */
function partsOf(extension: BusExtension): readonly HealthPart[] {
  const { name } = extension
  try {
    const health = extension.health?.()
    if (health === undefined) return []
    if (health.parts !== undefined) return health.parts.map((part) => ({ ...part, reasons: part.reasons.map((reason) => `${part.name}: ${reason}`) }))
    return [{ name, state: health.state, reasons: health.state === 'up' ? [] : [`${name}: ${health.reasons.join('; ')}`] }]
  } catch (error) {
    return [{ name, state: 'down', reasons: [`${name}: its health check threw: ${errorText(error).slice(0, 200)}`] }]
  }
}
