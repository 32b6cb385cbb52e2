import { type Issue, TrunklineError, escapeControls, isTrunklineError } from '../core/errors.ts'
import type { Schema, SchemaIssue, SchemaResult } from './schema.ts'

const ISSUES_MAX = 20

const ASYNCHRONOUS = 'a schema of it is asynchronous (it answered with a promise). Schemas are synchronous; check in the handler what has to be waited for'

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
      throw new TrunklineError('contract.definition_invalid', { type, problem: ASYNCHRONOUS })
    }
    return result
  }
}

/**
 * Calls the validator once, with nothing, to find a schema that is asynchronous whatever it is given. One that waits
 * only for some values, such as an asynchronous refinement of a field, shows itself at its first use.
 *
 * @throws `contract.definition_invalid`.
 */
export function probe(validator: Validator): void {
  try {
    validator(undefined)
  } catch (error) {
    if (isTrunklineError(error, 'contract.definition_invalid')) throw error
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
