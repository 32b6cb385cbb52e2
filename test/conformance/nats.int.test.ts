import { describe } from 'vitest'
import { natsSubject } from './nats-subject.ts'
import { testBroker } from './register.ts'

describe('nats', () => testBroker(natsSubject))
