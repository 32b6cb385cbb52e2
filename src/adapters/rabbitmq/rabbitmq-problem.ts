import { TrunklineError, errorText } from '../../core/errors.ts'

/** What a client reported, short. Credentials are never part of what amqplib or the broker say. */
export function problemText(problem: unknown): string {
  return errorText(problem).slice(0, 300)
}

/** A lost link as an error. */
export function connectionLost(problem: unknown): TrunklineError {
  const cause = problem instanceof Error ? { cause: problem } : {}
  return new TrunklineError('bus.connection_lost', { adapter: 'rabbitmq', problem: problemText(problem) }, cause)
}
