import type { BusHealth, BusState } from '../bus/bus-events.ts'
import type { HealthPart } from '../bus/port.ts'

/** The part of a bus that is asked. */
export interface HealthSource {
  readonly state: BusState
  health(): BusHealth
  healthParts(): readonly HealthPart[]
}

/** The body of an answer, as JSON. */
export interface HealthBody {
  readonly status: 'up' | 'degraded' | 'down'
  readonly reasons: readonly string[]
  /** Only of `/healthz`. */
  readonly parts?: readonly HealthPart[]
}

/** What orchestrators ask, by the end of the path. */
const PATHS = ['livez', 'readyz', 'healthz'] as const

/**
 * Answers `GET` and `HEAD` of `/livez`, `/readyz` and `/healthz`, under any prefix; undefined for everything else, so that it can stand
 * before other handlers: `(request) => healthResponse(bus, request) ?? app(request)`.
 *
 * - `/livez`: 200 while the process can answer, 503 once the bus has stopped for good. It never looks at brokers: a restart cures none.
 * - `/readyz`: 200 while the bus runs and is not `down`. It is 503 from the moment that the bus begins to drain.
 * - `/healthz`: everything, with reasons; 503 where the health is `down`.
 */
export function healthResponse(bus: HealthSource, request: Request): Response | undefined {
  if (request.method !== 'GET' && request.method !== 'HEAD') return undefined
  const { pathname } = new URL(request.url)
  const path = PATHS.find((one) => pathname.endsWith(`/${one}`))
  return path === undefined ? undefined : responseTo(path, bus, request.method === 'HEAD')
}

function responseTo(path: (typeof PATHS)[number], bus: HealthSource, isHead: boolean): Response {
  const health = bus.health()
  if (path === 'livez') {
    const isAlive = bus.state !== 'stopped'
    return answer(isAlive, { status: isAlive ? 'up' : 'down', reasons: isAlive ? [] : ['the bus is stopped'] }, isHead)
  }
  const isReady = bus.state === 'running' && health.state !== 'down'
  const body = { status: health.state, reasons: health.reasons }
  return path === 'readyz' ? answer(isReady, body, isHead) : answer(health.state !== 'down', { ...body, parts: bus.healthParts() }, isHead)
}

function answer(isGood: boolean, body: HealthBody, isHead: boolean): Response {
  const headers = { 'content-type': 'application/json', 'cache-control': 'no-store' }
  return new Response(isHead ? null : JSON.stringify(body), { status: isGood ? 200 : 503, headers })
}
