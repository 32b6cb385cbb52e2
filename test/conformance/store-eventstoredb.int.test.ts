import { describe } from 'vitest'
import { testStore } from '../../src/testing/index.ts'
import { concurrently } from './register.ts'
import { eventStoreDbStoreSubject } from './store-eventstoredb-subject.ts'

describe('the EventStoreDB store', { timeout: 90_000 }, () => {
  testStore(concurrently, eventStoreDbStoreSubject)
})
