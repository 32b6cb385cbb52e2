import { TrunklineError, errorText, isTrunklineError } from '../../core/errors.ts'

/** What a client reported, short. Credentials are never part of what amqplib or the broker say. */
export function problemText(problem: unknown): string {
  // What was told as an error of ours already is not wrapped in its sentences again.
  return isTrunklineError(problem, 'bus.connection_lost') ? problem.details.problem : errorText(problem).slice(0, 300)
}

/** A lost link as an error. @param reported the client's own error, where `problem` is a text about it. */
export function connectionLost(problem: unknown, reported: unknown = problem): TrunklineError {
  const cause = reported instanceof Error ? { cause: reported } : {}
  return new TrunklineError('bus.connection_lost', { adapter: 'rabbitmq', problem: problemText(problem) }, cause)
}
