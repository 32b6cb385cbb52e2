import { createHash } from 'node:crypto'
import { TrunklineError } from '../../core/errors.ts'
import type { PgRow } from './postgres-client.ts'

/** A statement with the name that it is prepared under: the same for the same text, so that one pool can serve several stores. */
export class PgStatement {
  readonly text: string
  readonly name: string

  constructor(text: string) {
    this.text = text
    this.name = `trunkline_${createHash('sha256').update(text).digest('hex').slice(0, 24)}`
  }
}

/** A column that holds text, or a number too large for a double: text as well, unless a program has told its client to make numbers of it. */
export function textAt(row: PgRow, column: string): string {
  const value = row[column]
  if (typeof value === 'bigint' || Number.isSafeInteger(value)) return String(value)
  if (typeof value !== 'string') throw unexpected(column)
  return value
}

/** As `textAt`, or undefined for NULL. */
export function optionalTextAt(row: PgRow, column: string): string | undefined {
  return row[column] === null ? undefined : textAt(row, column)
}

/** A column of type bigint. */
export function bigintAt(row: PgRow, column: string): bigint {
  return BigInt(textAt(row, column))
}

/** As `bigintAt`, or undefined for NULL. */
export function optionalBigintAt(row: PgRow, column: string): bigint | undefined {
  return row[column] === null ? undefined : bigintAt(row, column)
}

/** A column of any number type, as a double. */
export function numberAt(row: PgRow, column: string): number {
  const value = row[column]
  if (typeof value === 'number') return value
  return Number(textAt(row, column))
}

/** As `numberAt`, or undefined for NULL. */
export function optionalNumberAt(row: PgRow, column: string): number | undefined {
  return row[column] === null ? undefined : numberAt(row, column)
}

/** A column of type bytea. */
export function bytesAt(row: PgRow, column: string): Uint8Array {
  const value = row[column]
  if (!(value instanceof Uint8Array)) throw unexpected(column)
  return value
}

/** A column of type boolean. */
export function booleanAt(row: PgRow, column: string): boolean {
  const value = row[column]
  if (typeof value !== 'boolean') throw unexpected(column)
  return value
}

/** `event` or `command`, as the tables keep it. */
export function kindAt(row: PgRow): 'event' | 'command' {
  return textAt(row, 'kind') === 'command' ? 'command' : 'event'
}

function unexpected(column: string): TrunklineError {
  return new TrunklineError('core.invariant_broken', { expected: `the column ${column} in the type that the statement gives it` })
}
