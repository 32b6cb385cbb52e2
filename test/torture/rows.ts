// The user's own tables, in the words that both databases understand.

/** Statements on an open transaction, whichever database it is of. */
export interface Rows {
  run(text: string, ...values: readonly unknown[]): Promise<void>
  all(text: string, ...values: readonly unknown[]): Promise<readonly Record<string, unknown>[]>
}

interface PgLike {
  query(text: string, values?: readonly unknown[]): Promise<{ readonly rows: readonly Record<string, unknown>[] }>
}

interface SqliteLike {
  prepare(text: string): { run(...values: readonly unknown[]): unknown; all(...values: readonly unknown[]): readonly Record<string, unknown>[] }
}

/** Rows over the handle of a unit of work. */
export function rowsOf(handle: object | undefined): Rows {
  if (handle === undefined) throw new Error('this store has no rows')
  if ('prepare' in handle) {
    const sqlite = handle as unknown as SqliteLike
    return {
      run: (text, ...values) => Promise.resolve(void sqlite.prepare(text).run(...values)),
      all: (text, ...values) => Promise.resolve(sqlite.prepare(text).all(...values)),
    }
  }
  const pg = handle as unknown as PgLike
  const numbered = (text: string): string => {
    let at = 0
    return text.replaceAll('?', () => `$${++at}`)
  }
  return {
    run: async (text, ...values) => void (await pg.query(numbered(text), values)),
    all: async (text, ...values) => (await pg.query(numbered(text), values)).rows,
  }
}

/** Makes the tables and opens the accounts. Effects have no unique key: a second one must show, and not be refused. */
export async function setUp(rows: Rows, isSqlite: boolean, accounts: number, openingCents: number): Promise<void> {
  const seq = isSqlite ? 'integer primary key autoincrement' : 'bigint generated always as identity primary key'
  await rows.run('create table if not exists t_account (name text primary key, asked integer not null, cents bigint not null)')
  await rows.run('create table if not exists t_request (id text primary key, name text not null, target text not null, n integer not null, cents integer not null)')
  await rows.run(`create table if not exists t_effect (seq ${seq}, place text not null, name text not null, n integer not null, id text not null)`)
  for (let index = 0; index < accounts; index++) {
    await rows.run('insert into t_account (name, asked, cents) values (?, 0, ?) on conflict (name) do nothing', `a${index}`, openingCents)
  }
}
