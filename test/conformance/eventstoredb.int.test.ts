import { describe } from 'vitest'
import { eventStoreDbSubject } from './eventstoredb-subject.ts'
import { testBroker } from './register.ts'

describe('eventstoredb', () => testBroker(eventStoreDbSubject))
