import type { Clock } from '../../core/clock.ts'
import { connectionLost } from './rabbitmq-problem.ts'

/**
 * The outcome of a broker's command, or `bus.connection_lost` when none comes in time: a queue that the broker
 * lost in a crash lets commands on it wait for ever.
 */
export function answered<T>(clock: Clock, command: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.setTimer(timeoutMs, () => reject(connectionLost(`${what} was not answered within ${timeoutMs} ms`)), { background: true })
    command.then(
      (value) => {
        timer.cancel()
        resolve(value)
      },
      (error: unknown) => {
        timer.cancel()
        reject(error)
      },
    )
  })
}

/**
 * Closes a channel or connection and resolves when it is closed, however that came about: the promise of amqplib's own
 * `close` stays pending where the link dies in the middle of it. Never rejects.
 */
export async function closed(clock: Clock, open: Closable, timeoutMs: number): Promise<void> {
  const ended = new Promise<void>((resolve) => {
    open.on('close', () => resolve())
    open.close().then(resolve, () => resolve())
  })
  await answered(clock, ended, timeoutMs, 'closing').catch(() => undefined)
}

/** What channels and connections have in common. */
export interface Closable {
  on(event: 'close', listener: (payload: unknown) => void): unknown
  close(): Promise<void>
}
