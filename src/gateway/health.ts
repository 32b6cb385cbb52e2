import type { BusHealth, BusState } from '../bus/bus-events.ts'
import type { HealthPart } from '../bus/port.ts'

/** What can say how it is; a bus is one. */
export interface HealthSource {
  readonly state: BusState
  health(): BusHealth
  /** What the health is made of, checks of the process and of your own included. */
  healthParts?(): readonly HealthPart[]
}

/** What `healthEndpoints` takes. */
export interface HealthOptions {
  readonly bus: HealthSource
  /** True as soon as the process is to be stopped: readiness goes down then, before anything else does. */
  readonly isDraining?: () => boolean
  /** Whether `/healthz` tells reasons and parts. They name brokers and groups: not for the world. Default false. */
  readonly reasons?: boolean
}

/** Answers `/livez`, `/readyz` and `/healthz`, below `basePath`, and undefined for everything else. */
export type HealthEndpoints = (method: string, path: string) => Response | undefined

const UP = 200
const DOWN = 503

/**
 * The endpoints that orchestrators look at, as a function of method and path, to be mounted anywhere.
 *
 * - `/livez`: 200 while the process can answer and its bus has not stopped. It does not look at the broker: a restart would not mend that.
 * - `/readyz`: 200 while the bus runs, is not `down`, and nothing is draining.
 * - `/healthz`: the state as JSON; 503 where it is `down`.
 */
export function healthEndpoints({ bus, isDraining = () => false, reasons = false }: HealthOptions, basePath: string = ''): HealthEndpoints {
  const endpoints: ReadonlyMap<string, () => Response> = new Map([
    [`${basePath}/livez`, () => answer(bus.state === 'stopped' ? DOWN : UP, { state: bus.state === 'stopped' ? 'down' : 'up' })],
    [`${basePath}/readyz`, () => {
      const isReady = bus.state === 'running' && !isDraining() && bus.health().state !== 'down'
      return answer(isReady ? UP : DOWN, { state: isReady ? 'up' : isDraining() || bus.state === 'draining' ? 'draining' : 'down' })
    }],
    [`${basePath}/healthz`, () => {
      const health = bus.health()
      return answer(health.state === 'down' ? DOWN : UP, reasons ? { ...health, parts: bus.healthParts?.() } : { state: health.state })
    }],
  ])
  return (method, path) => (method === 'GET' || method === 'HEAD' ? endpoints.get(path)?.() : undefined)
}

function answer(status: number, body: object): Response {
  return new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/json', 'cache-control': 'no-store' } })
}
