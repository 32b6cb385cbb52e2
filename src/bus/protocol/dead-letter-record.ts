import { escapeControls } from '../../core/errors.ts'
import { ERROR_CHAIN_MAX, ERROR_TEXT_MAX } from '../../core/limits.ts'
import type { DeadLetterRecord } from '../port.ts'

/** Longest text of `encodeDeadLetterRecord`, so that it fits into every broker's headers beside the message's own. */
export const DEAD_LETTER_RECORD_BYTES_MAX = 8_192

/** Longest names and times kept where a record must shrink. */
const NAME_TEXT_MAX = 200
/** Texts of errors are cut to these lengths, one after the other, until the record fits. */
const SHRINK_STEPS: readonly number[] = [1_024, 512, 256, 64, 16]

type RecordedError = DeadLetterRecord['errors'][number]

/**
 * A record as one line of printable ASCII JSON, at most `DEAD_LETTER_RECORD_BYTES_MAX` long, for a broker's header.
 *
 * Where it would be longer it loses first the stacks, then the ends of messages; the reason stays.
 */
export function encodeDeadLetterRecord(record: DeadLetterRecord): string {
  let text = asciiJson(record)
  if (fits(text)) return text
  text = asciiJson({ ...record, errors: record.errors.map(withoutStack) })
  for (const textMax of SHRINK_STEPS) {
    if (fits(text)) return text
    text = asciiJson(shortened(record, textMax))
  }
  return text
}

/**
 * Reads what `encodeDeadLetterRecord` wrote. It never throws: what is missing, foreign or corrupt
 * gives a record with reason `contract.message_foreign`, so that the dead letter can still be listed.
 */
export function decodeDeadLetterRecord(text: string | undefined): DeadLetterRecord {
  const found = parsed(text)
  if (found === undefined) return foreign('the record of the dead letter is missing or cannot be read')
  const reason = textOf(found['reason'])
  if (reason === '') return foreign('the record of the dead letter names no reason')
  const attempts = found['attempts']
  const errors = found['errors']
  return {
    reason,
    errors: Array.isArray(errors) ? errors.slice(0, ERROR_CHAIN_MAX).flatMap(errorOf) : [],
    attempts: typeof attempts === 'number' && Number.isSafeInteger(attempts) && attempts >= 0 ? attempts : 0,
    handler: textOf(found['handler']),
    service: textOf(found['service']),
    instance: textOf(found['instance']),
    at: textOf(found['at']),
  }
}

function asciiJson(value: object): string {
  const text = JSON.stringify(value)
  // Escaping only lengthens, and is slow for a text that does not fit anyway.
  if (!fits(text)) return text
  return text.replaceAll(/[^\u0020-\u007e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function fits(text: string): boolean {
  return text.length <= DEAD_LETTER_RECORD_BYTES_MAX
}

function withoutStack({ stack: _stack, ...error }: RecordedError): RecordedError {
  return error
}

function shortened(record: DeadLetterRecord, textMax: number): DeadLetterRecord {
  const nameMax = Math.min(textMax, NAME_TEXT_MAX)
  return {
    reason: cut(record.reason, NAME_TEXT_MAX),
    errors: record.errors.slice(0, ERROR_CHAIN_MAX).map((error) => ({
      name: cut(error.name, nameMax),
      message: cut(error.message, textMax),
      ...(error.code === undefined ? {} : { code: cut(error.code, nameMax) }),
    })),
    attempts: record.attempts,
    handler: cut(record.handler, nameMax),
    service: cut(record.service, nameMax),
    instance: cut(record.instance, NAME_TEXT_MAX),
    at: cut(record.at, NAME_TEXT_MAX),
  }
}

function cut(text: string, lengthMax: number): string {
  return text.length <= lengthMax ? text : `${text.slice(0, lengthMax - 1)}…`.toWellFormed()
}

function parsed(text: string | undefined): Record<string, unknown> | undefined {
  try {
    return objectOf(JSON.parse(text ?? ''))
  } catch {
    return undefined
  }
}

function objectOf(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined
}

function errorOf(value: unknown): readonly RecordedError[] {
  const found = objectOf(value)
  if (found === undefined) return []
  const code = found['code']
  const stack = found['stack']
  return [
    {
      name: textOf(found['name']),
      message: textOf(found['message']),
      ...(typeof code === 'string' ? { code: textOf(code) } : {}),
      ...(typeof stack === 'string' ? { stack: stackOf(stack) } : {}),
    },
  ]
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? escapeControls(value.slice(0, ERROR_TEXT_MAX)) : ''
}

/** A stack keeps its line breaks; every line is as safe as other texts. */
function stackOf(stack: string): string {
  return stack.slice(0, DEAD_LETTER_RECORD_BYTES_MAX).split('\n').map(escapeControls).join('\n')
}

function foreign(problem: string): DeadLetterRecord {
  return {
    reason: 'contract.message_foreign',
    errors: [{ name: 'TrunklineError', message: problem, code: 'contract.message_foreign' }],
    attempts: 0,
    handler: '',
    service: '',
    instance: '',
    at: '1970-01-01T00:00:00.000Z',
  }
}
