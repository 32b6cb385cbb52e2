import { instantText } from '../core/clock.ts'
import { errorText, escapeControls, isTrunklineError } from '../core/errors.ts'
import { ERROR_CHAIN_MAX, ERROR_TEXT_MAX } from '../core/limits.ts'
import type { DeadLetterRecord } from './port.ts'
import { codeOf } from './retry-policy.ts'

/** Who gave a delivery up, and when. */
export interface DeadLetterContext {
  readonly attempts: number
  readonly handler: string
  readonly service: string
  readonly instance: string
  readonly nowMs: number
}

/** The record of why a delivery was given up: the error and its causes, capped and escaped. */
export function deadLetterOf(error: unknown, context: DeadLetterContext): DeadLetterRecord {
  return {
    reason: codeOf(error),
    errors: errorChain(error),
    attempts: context.attempts,
    handler: context.handler,
    service: context.service,
    instance: context.instance,
    at: instantText(context.nowMs),
  }
}

function errorChain(error: unknown): DeadLetterRecord['errors'] {
  const chain: DeadLetterRecord['errors'][number][] = []
  const seen = new Set<unknown>()
  let current: unknown = error
  while (chain.length < ERROR_CHAIN_MAX && !seen.has(current)) {
    seen.add(current)
    chain.push(describe(current))
    if (!(current instanceof Error) || current.cause === undefined) break
    current = current.cause
  }
  return chain
}

function describe(thrown: unknown): DeadLetterRecord['errors'][number] {
  const message = errorText(thrown).slice(0, ERROR_TEXT_MAX)
  if (!(thrown instanceof Error)) return { name: typeof thrown, message }
  const code = isTrunklineError(thrown) ? thrown.code : 'code' in thrown && typeof thrown.code === 'string' ? escapeControls(thrown.code).slice(0, 100) : undefined
  return {
    name: escapeControls(String(thrown.name)).slice(0, 100),
    message,
    ...(code === undefined ? {} : { code }),
    // Newlines are kept as text, so that a stack can be shown and cannot forge a log line.
    ...(typeof thrown.stack === 'string' ? { stack: escapeControls(thrown.stack.slice(0, ERROR_TEXT_MAX)) } : {}),
  }
}
