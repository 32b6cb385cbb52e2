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
