import type { ContractTypes, EventContract } from '../contract/contract.ts'
import { event } from '../contract/define.ts'
import type { Schema } from '../contract/schema.ts'

/** Why a stored event was passed over by a subscription, and where to find it. */
export interface EventDeadLetter {
  readonly subscription: string
  readonly stream: string
  /** Revision of the event, as text: JSON has no such numbers. */
  readonly revision: string
  readonly type: string
  readonly id: string
  readonly attempts: number
  /** Code of the error, or `bus.handler_failed`. */
  readonly reason: string
  readonly problem: string
}

/** It is written by the library alone; what is read back is checked by who reads it. */
const anyDeadLetter: Schema<EventDeadLetter> = {
  '~standard': { version: 1, vendor: 'trunkline', validate: (value) => ({ value: value as EventDeadLetter }) },
}

/** The types of `EventDeadLettered`. */
export interface EventDeadLetteredTypes extends ContractTypes {
  readonly input: EventDeadLetter
  readonly output: EventDeadLetter
  readonly replyInput: undefined
  readonly replyOutput: undefined
  readonly errors: object
}

/** Told in the stream `deadletters-<subscription>` when a subscription passes an event over: read it as any other event. */
export const EventDeadLettered: EventContract<'trunkline.event-dead-lettered', EventDeadLetteredTypes> = event('trunkline.event-dead-lettered', { schema: anyDeadLetter })
