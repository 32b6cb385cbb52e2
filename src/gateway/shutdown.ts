import { type Clock, sleep, systemClock } from '../core/clock.ts'

/** What is to be stopped, in the order in which it is. */
export interface ShutDownParts {
  /** Its readiness goes down first, and its event streams end. */
  readonly gateway?: { drain(): void }
  /** Takes no more connections, and lets its requests end. */
  readonly server?: { close(options?: { readonly graceMs?: number }): Promise<unknown> }
  readonly bus: { stop(): Promise<void> }
  /** Time between the readiness going down and the server taking no more, in milliseconds, in which load balancers notice. Default 0. */
  readonly noticeMs?: number
  /** Time that requests have to end, in milliseconds. Default 10,000. */
  readonly graceMs?: number
  /** Default: the machine's. */
  readonly clock?: Clock
}

const GRACE_MS = 10_000

/** Stops a service without losing a request: readiness down, notice, no more connections, requests end, the bus drains and closes. */
export async function shutDown({ gateway, server, bus, noticeMs = 0, graceMs = GRACE_MS, clock = systemClock }: ShutDownParts): Promise<void> {
  gateway?.drain()
  if (noticeMs > 0) await sleep(clock, noticeMs)
  try {
    await server?.close({ graceMs })
  } finally {
    await bus.stop()
  }
}

/**
 * Shuts down when the process is told to end, and ends it then: with 0, or with 1 where that failed. A second signal ends it at once.
 *
 * @param signals default `SIGTERM` and `SIGINT`.
 * @returns takes it back.
 */
export function shutDownOnSignal(parts: ShutDownParts, signals: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT']): () => void {
  const forget = (): void => {
    for (const signal of signals) process.off(signal, stop)
  }
  const stop = (): void => {
    forget()
    shutDown(parts).then(() => process.exit(0), () => process.exit(1))
  }
  for (const signal of signals) process.on(signal, stop)
  return forget
}
