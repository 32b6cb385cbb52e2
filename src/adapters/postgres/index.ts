export { migrationSql } from './postgres-migrations.ts'
export type { PgPart } from './postgres-migrations.ts'
export type { PostgresAddressOptions, PostgresConnection, PostgresOptions, PostgresPoolOptions } from './postgres-options.ts'
