import type { SqlStatement } from '../../outbox/port.ts'
import { KEY_LOCK } from './postgres-locks.ts'
import { PgStatement } from './postgres-rows.ts'

/** What rows are written: one without a key, one with a key, or any number. */
export interface WriteShape {
  /** Quoted. */
  readonly schema: string
  readonly shape: 'one' | 'keyed' | 'many'
}

/** Columns of a row that are given and not made. */
export const ROW_COLUMNS = 'shard, kind, key, attributes, body'

/** The locks of a parameter as one row, there when all of them are held. */
export function locksText(name: string, parameter: number): string {
  return `${name} AS MATERIALIZED (SELECT coalesce(sum(CASE WHEN pg_catalog.pg_advisory_xact_lock(${KEY_LOCK}, slot) IS NULL THEN 0 ELSE 1 END), 0) AS held
  FROM unnest($${parameter}::integer[]) AS slot)`
}

/** A statement that writes rows, their keys' locks first. */
export function writeText(shape: WriteShape): string {
  const { locks, insert } = partsOf(shape, 'locks', 1)
  return locks === '' ? insert : `WITH ${locks}\n${insert}`
}

/** @param first number of the first parameter. */
function partsOf({ schema, shape }: WriteShape, name: string, first: number): { readonly locks: string; readonly insert: string } {
  const at = (place: number, type: string): string => `$${first + place}::${type}`
  const row = `${at(0, 'smallint')}, ${at(1, 'text')}, ${at(2, 'text')}, ${at(3, 'bytea')}`
  if (shape === 'one') return { locks: '', insert: `INSERT INTO ${schema}.outbox (shard, kind, attributes, body) VALUES (${row})` }
  if (shape === 'keyed') {
    return {
      locks: `${name} AS MATERIALIZED (SELECT pg_catalog.pg_advisory_xact_lock(${KEY_LOCK}, ${at(5, 'integer')}))`,
      insert: `INSERT INTO ${schema}.outbox (shard, kind, attributes, body, key) SELECT ${row}, ${at(4, 'text')} FROM ${name}`,
    }
  }
  const arrays = [at(1, 'smallint[]'), at(2, 'text[]'), at(3, 'text[]'), at(4, 'text[]'), at(5, 'bytea[]')].join(', ')
  return {
    locks: locksText(name, first),
    insert: `INSERT INTO ${schema}.outbox (${ROW_COLUMNS}) SELECT given.shard, given.kind, given.key, given.attributes, given.body
FROM ${name}, unnest(${arrays}) WITH ORDINALITY AS given (${ROW_COLUMNS}, n) ORDER BY given.n`,
  }
}

const STATEMENTS_MAX = 1_000
/** Statements with rows beside them, by what they are made of: an application has few. */
const statements = new Map<string, PgStatement>()

/** A statement of the caller's with rows beside it; all that a statement changes is seen and committed together. */
export function besideStatement(shape: WriteShape, { text, values, name }: SqlStatement, rowValues: readonly unknown[]): SqlStatement {
  const known = JSON.stringify([shape.schema, shape.shape, values.length, text])
  let statement = statements.get(known)
  if (statement === undefined) {
    statement = new PgStatement(besideText(shape, text, values.length + 1))
    if (statements.size >= STATEMENTS_MAX) statements.clear()
    statements.set(known, statement)
  }
  return { text: statement.text, values: [...values, ...rowValues], ...(name === undefined ? {} : { name: statement.name }) }
}

function besideText(shape: WriteShape, text: string, first: number): string {
  const { locks, insert } = partsOf(shape, 'trunkline_locks', first)
  const own = `${locks === '' ? '' : `${locks},\n`}trunkline_outbox AS (${insert})`
  // Common table expressions of the caller's come behind ours.
  const opening = /^\s*WITH\s+(?:RECURSIVE\s+)?/i.exec(text)?.[0]
  return opening === undefined ? `WITH ${own}\n${text}` : `${opening}${own},\n${text.slice(opening.length)}`
}
