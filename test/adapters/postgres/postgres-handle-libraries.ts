import { createRequire } from 'node:module'
import { PrismaPg } from '@prisma/adapter-pg'
import { getPrismaClient } from '@prisma/client/runtime/client'
import { drizzle as drizzlePg } from 'drizzle-orm/node-postgres'
import { drizzle as drizzlePostgresJs } from 'drizzle-orm/postgres-js'
import knex, { type Knex } from 'knex'
import { CamelCasePlugin, Kysely, PostgresDialect } from 'kysely'
import { Client, Pool } from 'pg'
import postgresJs from 'postgres'

/** What is to be known of a library that people write transactions with. */
export interface HandleLibrary {
  readonly name: string
  /** Its name in errors. */
  readonly library: string
  readonly open: (url: string) => Promise<OpenLibrary>
}

/** A library that has connected. */
export interface OpenLibrary {
  /** Handles of it that are no transactions. */
  readonly outside: readonly unknown[]
  /** Commits what `work` does, or rolls it back and throws what it throws. */
  transaction(work: (tx: unknown) => Promise<unknown>): Promise<unknown>
  close(): Promise<void>
}

async function withPgClient(client: Pick<Client, 'query'>, work: () => Promise<unknown>): Promise<unknown> {
  await client.query('BEGIN')
  try {
    const value = await work()
    await client.query('COMMIT')
    return value
  } catch (error) {
    await client.query('ROLLBACK')
    throw error
  }
}

const pgClient: HandleLibrary = {
  name: 'a client of pg', library: 'pg',
  open: async (url) => {
    const client = new Client({ connectionString: url })
    await client.connect()
    return { outside: [client], transaction: (work) => withPgClient(client, () => work(client)), close: () => client.end() }
  },
}

const pgPool: HandleLibrary = {
  name: 'a client lent by a pool of pg', library: 'pg',
  open: (url) => {
    const pool = new Pool({ connectionString: url, max: 2 })
    return Promise.resolve({
      outside: [pool],
      transaction: async (work) => {
        const client = await pool.connect()
        try {
          return await withPgClient(client, () => work(client))
        } finally {
          client.release()
        }
      },
      close: () => pool.end(),
    })
  },
}

const postgresJsBegin: HandleLibrary = {
  name: 'postgres.js', library: 'postgres.js',
  open: (url) => {
    const sql = postgresJs(url, { max: 2, transform: postgresJs.camel, onnotice: () => undefined })
    return Promise.resolve({ outside: [sql], transaction: (work) => sql.begin((tx) => work(tx)), close: () => sql.end() })
  },
}

const postgresJsSavepoint: HandleLibrary = {
  name: 'a savepoint of postgres.js that does not know types', library: 'postgres.js',
  open: async (url) => {
    const sql = postgresJs(url, { max: 2, fetch_types: false, prepare: false })
    // Without types to fetch it reserves only a connection that there is.
    await sql`SELECT 1`
    const reserved = await sql.reserve()
    return {
      outside: [sql, reserved],
      transaction: (work) => sql.begin((tx) => tx.savepoint((inner) => work(inner))),
      close: () => {
        reserved.release()
        return sql.end()
      },
    }
  },
}

const kyselyCallback: HandleLibrary = {
  name: 'Kysely', library: 'kysely',
  open: (url) => {
    const db = new Kysely<object>({ dialect: new PostgresDialect({ pool: new Pool({ connectionString: url, max: 2 }) }), plugins: [new CamelCasePlugin()] })
    return Promise.resolve({ outside: [db, db.withSchema('public')], transaction: (work) => db.transaction().execute((trx) => work(trx)), close: () => db.destroy() })
  },
}

const kyselyControlled: HandleLibrary = {
  name: 'a controlled transaction of Kysely', library: 'kysely',
  open: (url) => {
    const db = new Kysely<object>({ dialect: new PostgresDialect({ pool: new Pool({ connectionString: url, max: 2 }) }) })
    return Promise.resolve({
      outside: [db],
      transaction: async (work) => {
        const trx = await db.startTransaction().execute()
        try {
          const value = await work(trx)
          await trx.commit().execute()
          return value
        } catch (error) {
          await trx.rollback().execute()
          throw error
        }
      },
      close: () => db.destroy(),
    })
  },
}

const drizzleOverPg: HandleLibrary = {
  name: 'Drizzle over pg', library: 'drizzle',
  open: (url) => {
    const pool = new Pool({ connectionString: url, max: 2 })
    const db = drizzlePg(pool)
    return Promise.resolve({ outside: [db], transaction: (work) => db.transaction((tx) => tx.transaction((inner) => work(inner))), close: () => pool.end() })
  },
}

const drizzleOverPostgresJs: HandleLibrary = {
  name: 'Drizzle over postgres.js', library: 'drizzle',
  open: (url) => {
    const sql = postgresJs(url, { max: 2 })
    const db = drizzlePostgresJs(sql)
    return Promise.resolve({ outside: [db], transaction: (work) => db.transaction((tx) => work(tx)), close: () => sql.end() })
  },
}

// What the generated code of a client loads; these files have no types.
const required = createRequire(import.meta.url)

/** Prisma's own runtime over its own adapter, with the schema that has no models; its generator would need a download. */
const PrismaClient = getPrismaClient({
  previewFeatures: [],
  clientVersion: '7.10.0',
  engineVersion: 'none',
  activeProvider: 'postgresql',
  inlineSchema: 'datasource db {\n  provider = "postgresql"\n}\n',
  runtimeDataModel: { models: {}, enums: {}, types: {} },
  parameterizationSchema: { strings: [], graph: 'AAAA' },
  compilerWasm: {
    getRuntime: () => Promise.resolve(required('@prisma/client/runtime/query_compiler_fast_bg.postgresql.js')),
    getQueryCompilerWasmModule: () => {
      const { wasm }: { readonly wasm: string } = required('@prisma/client/runtime/query_compiler_fast_bg.postgresql.wasm-base64.js')
      const { Module } = Reflect.get(globalThis, 'WebAssembly') as { readonly Module: new (bytes: Uint8Array) => object }
      return Promise.resolve(new Module(Buffer.from(wasm, 'base64')))
    },
    importName: './query_compiler_fast_bg.js',
  },
})

/** What of a generated client is used here. */
interface Prisma {
  $transaction(work: (tx: unknown) => Promise<unknown>): Promise<unknown>
  $extends(extension: object): Prisma
  $disconnect(): Promise<void>
}

const prisma: HandleLibrary = {
  name: 'Prisma', library: 'prisma',
  open: (url) => {
    const client: Prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: url }) })
    return Promise.resolve({ outside: [client], transaction: (work) => client.$transaction((tx) => work(tx)), close: () => client.$disconnect() })
  },
}

const prismaExtended: HandleLibrary = {
  name: 'an extended client of Prisma', library: 'prisma',
  open: (url) => {
    const client: Prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: url }) })
    const extended = client.$extends({ name: 'empty' })
    return Promise.resolve({ outside: [client, extended], transaction: (work) => extended.$transaction((tx) => work(tx)), close: () => client.$disconnect() })
  },
}

function knexAt(url: string): Knex {
  const camel = (row: object): object => Object.fromEntries(Object.entries(row).map(([name, value]) => [name.replaceAll(/_(\w)/g, (_all, first: string) => first.toUpperCase()), value]))
  return knex({
    client: 'pg',
    connection: url,
    pool: { min: 0, max: 2 },
    postProcessResponse: (result: { rows: readonly object[] }) => ({ ...result, rows: result.rows.map(camel) }),
  })
}

const knexCallback: HandleLibrary = {
  name: 'Knex', library: 'knex',
  open: (url) => {
    const db = knexAt(url)
    return Promise.resolve({ outside: [db], transaction: (work) => db.transaction((trx) => work(trx)), close: () => db.destroy() })
  },
}

const knexNested: HandleLibrary = {
  name: 'a transaction of Knex within one', library: 'knex',
  open: (url) => {
    const db = knexAt(url)
    return Promise.resolve({
      outside: [db],
      transaction: async (work) => await db.transaction((trx) => trx.transaction((inner) => work(inner))),
      close: () => db.destroy(),
    })
  },
}

/** All that are supported. */
export const handleLibraries: readonly HandleLibrary[] = [
  pgClient, pgPool, postgresJsBegin, postgresJsSavepoint, kyselyCallback, kyselyControlled, drizzleOverPg, drizzleOverPostgresJs, prisma, prismaExtended, knexCallback, knexNested,
]
