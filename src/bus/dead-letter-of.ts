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

/** The record of why a delivery was given up: the error and its causes, capped and escaped. Only stacks have several lines. */
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
    const cause = causeOf(current)
    if (cause === undefined) break
    current = cause
  }
  return chain
}

/** Undefined also where the error does not let itself be read: a record must come about in any case (B48). */
function causeOf(thrown: unknown): unknown {
  try {
    return thrown instanceof Error ? thrown.cause : undefined
  } catch {
    return undefined
  }
}

function describe(thrown: unknown): DeadLetterRecord['errors'][number] {
  const message = cut(errorText(thrown))
  try {
    return thrown instanceof Error ? { ...namesOf(thrown), message, ...stackOf(thrown) } : { name: typeof thrown, message }
  } catch {
    return { name: typeof thrown, message }
  }
}

function namesOf(error: Error): { readonly name: string; readonly code?: string } {
  const name = escapeControls(String(error.name)).slice(0, 100)
  if (isTrunklineError(error)) return { name, code: error.code }
  return 'code' in error && typeof error.code === 'string' ? { name, code: escapeControls(error.code).slice(0, 100) } : { name }
}

/**
 * The stack as the lines it has. A line break inside the message is not one of them: it stays escaped, so that a text
 * from outside cannot pass for a frame.
 */
function stackOf(error: Error): { readonly stack?: string } {
  const { message, stack } = error
  if (typeof stack !== 'string') return {}
  const isBroken = typeof message === 'string' && message.includes('\n')
  const whole = isBroken ? stack.replace(message, () => escapeControls(message)) : stack
  return { stack: cut(whole).split(/\r?\n/).map(escapeControls).join('\n') }
}

/** A cut must not leave half a character, which would have no UTF-8 form. */
function cut(text: string): string {
  return text.slice(0, ERROR_TEXT_MAX).toWellFormed()
}
