import type { MatrixSubject } from '../../src/testing/index.ts'
import { eventStoreDbSubject } from './eventstoredb-subject.ts'
import { memorySubject } from './memory-subject.ts'
import { natsSubject } from './nats-subject.ts'
import { postgresSubject } from './postgres-subject.ts'
import { rabbitmqSubject } from './rabbitmq-subject.ts'
import { sqliteSubject } from './sqlite-subject.ts'

/** Every transport of the project, in the order of the matrix. Nothing is started. */
export const subjects: readonly MatrixSubject[] = [memorySubject, sqliteSubject, natsSubject(), rabbitmqSubject(), postgresSubject(), eventStoreDbSubject()]
