import { type Issue, TrunklineError } from '../core/errors.ts'
import { escapeControls } from '../core/errors.ts'
import type { Schema, SchemaIssue, SchemaResult } from './schema.ts'

const ISSUES_MAX = 20

/** A schema made ready for the hot path. */
export type Validator = (value: unknown) => SchemaResult<unknown>

/**
 * Takes a schema's own synchronous check.
 *
 * @throws `contract.definition_invalid` from the validator itself, when the schema answers with a promise:
 *   validation that waits would let messages overtake each other.
 */
export function validatorOf(type: string, schema: Schema): Validator {
  const { validate } = schema['~standard']
  return (value) => {
    const result = validate(value)
    if (result instanceof Promise) {
      result.catch(() => {})
      throw new TrunklineError('contract.definition_invalid', { type, problem: 'the schema is asynchronous; only synchronous checks are supported' })
    }
    return result
  }
}

/**
 * The value as the schema gives it.
 *
 * @throws `contract.payload_invalid` with path and rule of at most 20 issues.
 */
export function validated(type: string, during: 'publish' | 'consume' | 'reply', validator: Validator, value: unknown): unknown {
  let result: SchemaResult<unknown>
  try {
    result = validator(value)
  } catch (cause) {
    if (cause instanceof TrunklineError) throw cause
    const issues = [{ path: '', rule: `the schema itself threw: ${cause instanceof Error ? escapeControls(cause.message) : 'something'}` }]
    throw new TrunklineError('contract.payload_invalid', { type, during, issues }, { cause })
  }
  if (result.issues === undefined) return result.value
  throw new TrunklineError('contract.payload_invalid', { type, during, issues: result.issues.slice(0, ISSUES_MAX).map(toIssue) })
}

function toIssue(issue: SchemaIssue): Issue {
  const path = (issue.path ?? []).map((part) => String(typeof part === 'object' ? part.key : part)).join('.')
  return { path: escapeControls(path), rule: escapeControls(issue.message) }
}
