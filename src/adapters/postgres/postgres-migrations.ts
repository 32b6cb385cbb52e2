import { TrunklineError } from '../../core/errors.ts'
import { STORE_STEPS } from './postgres-store-steps.ts'
import { TRANSPORT_STEPS } from './postgres-transport-steps.ts'
import { lockNumber, MIGRATION_LOCK } from './postgres-locks.ts'
import type { PgRow } from './postgres-client.ts'
import { numberAt, textAt } from './postgres-rows.ts'

/** The tables come in two parts with versions of their own: a database can be a store, a transport, or both. */
export type PgPart = 'store' | 'transport'

/** Both parts. */
export const PG_PARTS: readonly PgPart[] = ['store', 'transport']

const STEPS: Readonly<Record<PgPart, readonly ((schema: string) => string)[]>> = { store: STORE_STEPS, transport: TRANSPORT_STEPS }

/** Runs one text of SQL on one connection; several statements are allowed where there are no values. */
export type SqlRunner = (text: string) => Promise<readonly PgRow[]>

/**
 * Brings the tables of some parts to the versions that this release knows. Where they are right already, it reads two rows and
 * needs no rights but to read. Otherwise all steps are one transaction under a lock: of two instances that start at once
 * the second finds the work done, and one that is killed half way leaves everything as it was.
 *
 * @param run runs on one connection, outside a transaction.
 * @throws `store.refused` where it may not (`isMigrating` false, or no rights), `bus.unsupported` where a newer release has
 *   changed the tables.
 */
export async function migrate(run: SqlRunner, schema: string, parts: readonly PgPart[], isMigrating: boolean): Promise<void> {
  const missing = await outdated(run, schema, parts)
  if (missing.length === 0) return
  if (!isMigrating) {
    throw new TrunklineError('store.refused', {
      store: 'postgres',
      problem: `the tables of ${missing.join(' and ')} in the schema ${schema} are older than this release, and migrations are not applied by open; run migrate() or what migrationSql() prints`,
    })
  }
  await run('BEGIN')
  try {
    await run(lockText(schema))
    // What the lock's last holder did is visible now.
    if (!(await hasSchema(run, schema))) await run(`CREATE SCHEMA ${quoted(schema)}`)
    if (!(await hasVersions(run, schema))) await run(versionTableText(schema))
    for (const part of await outdated(run, schema, parts)) await migratePart(run, schema, part)
    await run('COMMIT')
  } catch (error) {
    // The connection may be gone; the transaction is then, too.
    await run('ROLLBACK').catch(() => undefined)
    throw error
  }
}

/**
 * The same as SQL text for people who let nobody but themselves change tables: for `psql`, safe to run again and beside others.
 *
 * @param schema name of the schema; default `trunkline`.
 */
export function migrationSql(schema = 'trunkline', parts: readonly PgPart[] = PG_PARTS): string {
  const steps = parts.flatMap((part) => STEPS[part].map((step, version) => stepBlock(schema, part, version, step(quoted(schema)))))
  return [
    'BEGIN;',
    `${lockText(schema)};`,
    `CREATE SCHEMA IF NOT EXISTS ${quoted(schema)};`,
    `${versionTableText(schema)};`,
    ...steps,
    'COMMIT;',
    '',
  ].join('\n')
}

/** The version of a part that this release knows. */
export function versionOf(part: PgPart): number {
  return STEPS[part].length
}

async function migratePart(run: SqlRunner, schema: string, part: PgPart): Promise<void> {
  const version = (await versions(run, schema)).get(part) ?? 0
  for (const step of STEPS[part].slice(version)) await run(step(quoted(schema)))
  await run(versionText(schema, part, STEPS[part].length))
}

/** Parts that have steps to be done. */
async function outdated(run: SqlRunner, schema: string, parts: readonly PgPart[]): Promise<readonly PgPart[]> {
  const found = await hasVersions(run, schema) ? await versions(run, schema) : new Map<string, number>()
  return parts.filter((part) => {
    const version = found.get(part) ?? 0
    if (version > STEPS[part].length) {
      throw new TrunklineError('bus.unsupported', {
        adapter: 'postgres',
        capability: `version ${version} of the tables of the ${part}`,
        needed: `a release of trunkline that knows more than version ${STEPS[part].length}`,
      })
    }
    return version < STEPS[part].length
  })
}

async function hasSchema(run: SqlRunner, schema: string): Promise<boolean> {
  return (await run(`SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = '${schema}'`)).length > 0
}

async function hasVersions(run: SqlRunner, schema: string): Promise<boolean> {
  return (await run(`SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = '${schema}' AND tablename = 'part_version'`)).length > 0
}

async function versions(run: SqlRunner, schema: string): Promise<ReadonlyMap<string, number>> {
  const rows = await run(`SELECT part, version FROM ${quoted(schema)}.part_version`)
  return new Map(rows.map((row) => [textAt(row, 'part'), numberAt(row, 'version')]))
}

/** The name is checked by the options: it holds nothing that a quote would have to protect. */
function quoted(schema: string): string {
  return `"${schema}"`
}

function lockText(schema: string): string {
  return `SELECT pg_catalog.pg_advisory_xact_lock(${MIGRATION_LOCK}, ${lockNumber(schema)})`
}

function versionTableText(schema: string): string {
  return `CREATE TABLE IF NOT EXISTS ${quoted(schema)}.part_version (part text PRIMARY KEY, version integer NOT NULL)`
}

function versionText(schema: string, part: PgPart, version: number): string {
  return `INSERT INTO ${quoted(schema)}.part_version (part, version) VALUES ('${part}', ${version}) ON CONFLICT (part) DO UPDATE SET version = excluded.version`
}

function stepBlock(schema: string, part: PgPart, version: number, step: string): string {
  return [
    'DO $trunkline_step$',
    'BEGIN',
    `IF coalesce((SELECT version FROM ${quoted(schema)}.part_version WHERE part = '${part}'), 0) = ${version} THEN`,
    step.trim(),
    `${versionText(schema, part, version + 1)};`,
    'END IF;',
    'END',
    '$trunkline_step$;',
  ].join('\n')
}
