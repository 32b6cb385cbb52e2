import type { StoreMatrixSubject } from '../../src/testing/index.ts'
import { eventStoreDbStoreSubject } from './store-eventstoredb-subject.ts'
import { memoryStoreSubject } from './store-memory-subject.ts'
import { PostgresStoreSubject } from './store-postgres-subject.ts'
import { sqliteStoreSubject } from './store-sqlite-subject.ts'

/** Every store of the project, in the order of the matrix. Nothing is started. */
export const storeSubjects: readonly StoreMatrixSubject[] = [memoryStoreSubject, sqliteStoreSubject, new PostgresStoreSubject(), eventStoreDbStoreSubject]
