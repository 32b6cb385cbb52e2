import { type Decider, decider } from '../store/decider.ts'
import { EventCodec, type RecordedEvent } from '../store/recorded.ts'
import type { StoredEvent } from '../store/port.ts'
import { type Instance, apply, noInstance } from './instance.ts'
import { type SagaEvent, type SagaEventContract, type SagaEventKind, sagaEvents } from './saga-events.ts'

/** Events between two snapshots of an instance. */
export const SNAPSHOT_EVENTS = 200

/** Any event of an instance. */
export type AnySagaEvent = { readonly [K in SagaEventKind]: SagaEventContract<K> }[SagaEventKind]

/** The contracts of everything that stands in the streams of instances. */
export const sagaEventList: readonly AnySagaEvent[] = Object.values(sagaEvents)

const codec = new EventCodec<AnySagaEvent>(sagaEventList)

/** The kind of a recorded event with its data. */
export function sagaEventOf({ type, data }: Pick<RecordedEvent, 'type' | 'data'>): SagaEvent {
  // The codec knows these types alone, and has read the data by the contract of this one.
  return { kind: type.slice('saga.'.length), data } as SagaEvent
}

/** An event as it is in the log; undefined for one that is none of ours. @throws `store.event_unreadable`. */
export function readSagaEvent(stored: StoredEvent): SagaEvent | undefined {
  const recorded = codec.read(stored)
  return recorded === undefined ? undefined : sagaEventOf(recorded)
}

/** Folds the streams of one saga, with snapshots where they are long. It decides nothing. */
export function instanceDecider(category: string): Decider<AnySagaEvent, never, Instance> {
  return decider({
    category,
    events: sagaEventList,
    initialState: noInstance,
    decide: (_command: never) => undefined,
    evolve: (instance, event) => {
      // The one reader owns what it folds.
      apply(instance, sagaEventOf(event))
      return instance
    },
    snapshot: { everyEvents: SNAPSHOT_EVENTS },
  })
}
