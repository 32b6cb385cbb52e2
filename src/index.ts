/** Contracts and the bus; transports come from their own subpaths, such as `trunkline/nats`. */
export type {
  AnyCommand, AnyQuery, CommandContract, Contract, ContractKind, ContractTypes, DataInput, DataOutput, DeclaredErrorOf, EventContract, Failing, QueryContract, ReplyInput, ReplyOutput,
} from './contract/contract.ts'
export { type CallTypes, type CommandOptions, type EventOptions, type EventTypes, type QueryOptions, command, event, query } from './contract/define.ts'
export type { InputOf, OutputOf, Schema, SchemaIssue, SchemaProps, SchemaResult } from './contract/schema.ts'
export type { UpcastChain } from './contract/upcast.ts'
export { Bus, createBus } from './bus/bus.ts'
export type { BusEvent, BusHealth, BusState, BusStats } from './bus/bus-events.ts'
export type { BatchOptions } from './bus/batch-runner.ts'
export { type BodyStore, type ClaimCheckOptions, claimCheck } from './bus/claim-check.ts'
export type { HandlerContext } from './bus/context.ts'
export { type DeadLetterPageOptions, DeadLetters } from './bus/dead-letters.ts'
export type { SendOptions } from './bus/envelopes.ts'
export type { HandleStep, Middleware, PublishStep } from './bus/middleware.ts'
export type {
  AnswerOptions, AskOptions, BatchGroupOptions, BroadcastOptions, BusDefaults, BusOptions, CallHandler, EventBatchHandler, EventHandler, GroupOptions,
  HandleOptions, MessageOf, PublishOptions, ServiceInfo, SubscribeOptions, TransportSource, UnitCallHandle, UnitHandle, UnitOptions,
} from './bus/options.ts'
export type {
  BusExtension, DeadLetter, DeadLetterFilter, DeadLetterPage, DeadLetterPlane, DeadLetterRecord, Delivery, DeliverySink, LightDelivery, LightPlane,
  LightReply, LightSubscription, Outbound, Subscription, Transport, TransportCapabilities, TransportHost, TransportState, TransportSubscription,
} from './bus/port.ts'
export type { BusOutbox, MessageMaker, MessageMakerOptions, ScheduleOptions, Scheduling, UnitHost, UnitOfWork, UnitOutcome, UnitRequest } from './bus/port.ts'
export type { UnitContext, WithinOptions } from './bus/within.ts'
export { type DecideRetry, type Decision, type Failure, reject } from './bus/retry-policy.ts'
export type { Backoff, RetryOptions } from './core/backoff.ts'
export { type Clock, type Timer, systemClock } from './core/clock.ts'
export type { Message, WireMessage } from './core/envelope.ts'
export { type Disposition, type ErrorCode, type ErrorDetails, type Issue, TrunklineError, errorDispositions, isTrunklineError } from './core/errors.ts'
export { type LogMethod, type Logger, silentLogger } from './core/logger.ts'
export { draft, type Drafted, type ForeignUnit, type Outbox } from './outbox/outbox.ts'
export type { DeadOutboxRow, OutboxStats } from './outbox/port.ts'
export type { Scheduled, Scheduler } from './outbox/scheduler.ts'
export type { Store, StoreOpenOptions } from './outbox/store.ts'
export type { StoreOptions } from './outbox/store-options.ts'
export type { InlineProjection, Unit } from './outbox/unit.ts'
export { type Decider, type DeciderOptions, type Decision as DeciderDecision, type SnapshotOptions, decider } from './store/decider.ts'
export { type EventDeadLetter, EventDeadLettered, type EventDeadLetteredTypes } from './store/event-dead-letter.ts'
export { type EventStore, type ReadOptions, all, category, stream } from './store/event-store.ts'
export type { EventSubscription, EventSubscriptionState } from './store/event-subscription.ts'
export type { Executed, Loaded } from './store/execution.ts'
export { type Fact, type FactOptions, fact } from './store/fact.ts'
export type { Appended, ExpectedRevision, LogPage, ReadQuery, Selection, Snapshot, StoredEvent, StreamMetadata } from './store/port.ts'
export { type ProjectOptions, type ProjectedOf, type Projection, type ProjectionOptions, project, projection } from './store/projection.ts'
export type { RecordedEvent, RecordedOf } from './store/recorded.ts'
export type { EventContext, EventSubscriptionOptions, PoisonPolicy, StoredEventHandler } from './store/subscription-options.ts'
export type { SagaContract, SagaDefinition, SagaEnded, SagaEndedTypes, SagaPart, SagaPolicies, SagaShape, EarlyPolicy, LatePolicy } from './saga/definition.ts'
export type { Due } from './saga/due.ts'
export { type Instance as SagaInstance, type RunState, type SagaStatus, type SetTimer, type UndoState, type Waiting, noInstance } from './saga/instance.ts'
export type { SagaObservation, SagaOccurrence, SagaStats } from './saga/observation.ts'
export type { OperatorNote, SagaHandle, SagaRecord, SagaView } from './saga/operator.ts'
export type { SagaInput, SagaMessage, SagaMoment, SagaOutgoing, SagaTimerOrder, SagaTransition } from './saga/port.ts'
export { type Correlations, type ProcessInput, type ProcessManagerOptions, type ProcessMessage, type ProcessOutput, type ProcessOutputs, type ProcessTimers, processManager } from './saga/process-manager.ts'
export { type RunSagasOptions, type Sagas, runSagas } from './saga/run-sagas.ts'
export { type CancelOptions, type GroupBuilder, type GroupStepOptions, type SagaBuilder, type SagaMigration, type SagaOptions, type StartOptions, saga } from './saga/saga.ts'
export {
  type KeepReason, type KeptInput, type KeptMessage, type MessageRef, type OperatorAction, type SagaEvent, type SagaEventContract, type SagaEventData, type SagaEventKind, type SagaEventTypes,
  type SagaOutcome, type SagaParent, type SentMessage, type StepFailure, sagaEvents,
} from './saga/saga-events.ts'
export type {
  BuiltStep, CompensationOptions, Done, FailureOptions, InstantStep, NewStep, NewUndo, OutcomeOptions, StepBuilder, StepOptions, SubSagaOptions, Timed, TryOptions,
} from './saga/step.ts'
export { transition } from './saga/transition.ts'
export { type Random, seededRandom, systemRandom } from './core/random.ts'
