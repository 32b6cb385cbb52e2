import { describe } from 'vitest'
import { postgresSubject } from './postgres-subject.ts'
import { testBroker } from './register.ts'

describe('postgres', () => testBroker(postgresSubject))
