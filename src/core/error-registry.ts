/** One broken rule: where in the data, and what the schema said. */
export interface Issue {
  /** Dotted path to the value, such as `lines.0.price`; empty for the whole body. */
  readonly path: string
  /** The rule that was broken, in the schema library's words. */
  readonly rule: string
}

/**
 * What each failure carries, keyed by code. The part before the dot names the folder under `src/`
 * whose rule was broken. The list is closed: adapters translate what their client reports into one
 * of these and keep the original as `cause`.
 */
export interface ErrorDetails {
  'core.invariant_broken': { expected: string }
  'core.option_invalid': { option: string; expected: string; actual: string }
  /** `known` lists the names there are, `nearest` first where one of them is likely to have been meant. */
  'core.option_unknown': { option: string; place: string; nearest: string | undefined; known: readonly string[] }
  'core.peer_missing': { package: string; install: string }
  'contract.definition_invalid': { type: string; problem: string }
  'contract.definition_conflict': { type: string; problem: string }
  'contract.payload_invalid': { type: string; during: 'publish' | 'consume' | 'reply'; issues: readonly Issue[] }
  'contract.payload_unencodable': { type: string; path: string; problem: string }
  'contract.payload_too_large': { type: string; bytes: number; bytesMax: number }
  'contract.body_malformed': { type: string; problem: string }
  'contract.message_foreign': { problem: string }
  'contract.version_unknown': { type: string; version: string; versionMax: number }
  'contract.upcast_failed': { type: string; fromVersion: number; problem: string }
  'contract.header_refused': { header: string; problem: string }
  'contract.attribute_invalid': { attribute: string; problem: string }
  'contract.declared_error': { type: string; name: string; data: unknown }
  'bus.unsupported': { adapter: string; capability: string; needed: string }
  'bus.subscription_conflict': { subscription: string; problem: string }
  'bus.not_running': { operation: string; state: string }
  'bus.connection_lost': { adapter: string; problem: string }
  'bus.publish_timeout': { type: string; id: string; timeoutMs: number }
  'bus.publish_refused': { type: string; id: string; problem: string }
  'bus.overloaded': { what: string; limit: number }
  'bus.type_unhandled': { type: string; group: string }
  'bus.handler_timeout': { type: string; group: string; timeoutMs: number }
  'bus.handler_failed': { type: string; group: string; problem: string }
  'bus.rejected': { reason: string }
  'bus.attempts_exhausted': { type: string; group: string; attempts: number; problem: string }
  'bus.deadline_passed': { type: string; deadline: string }
  'bus.hops_exceeded': { type: string; hops: string; hopsMax: number }
  'bus.ask_timeout': { type: string; timeoutMs: number }
  'bus.ask_cancelled': { type: string }
  'bus.no_responder': { type: string }
  'bus.answer_failed': { type: string; code: string; problem: string }
  'bus.dead_letter_missing': { id: string }
  /** `retryAfterMs` is when the service wants to be asked again; `hasBegun` where the service did begin, and what it needed itself was overloaded. */
  'bus.callee_overloaded': { type: string; problem: string; retryAfterMs: number; hasBegun?: boolean }
  'store.wrong_revision': { stream: string; expected: string; actual: string }
  'store.conflict': { store: string; problem: string }
  'store.rolled_back': { store: string; problem: string }
  'store.down': { store: string; problem: string }
  'store.refused': { store: string; problem: string }
  'store.lease_lost': { store: string; lease: string }
  'store.event_unreadable': { stream: string; revision: string; problem: string }
  'discovery.attached_twice': { service: string }
  'discovery.off': { problem: string }
  'discovery.fetch_timeout': { address: string; timeoutMs: number }
  'discovery.response_failed': { service: string; status: number }
  'discovery.no_instance': { wanted: string; problem: string }
  'discovery.wait_timeout': { service: string; count: number; seen: number; timeoutMs: number }
  'discovery.unrecorded': { at: string; problem: string }
  'outbox.transaction_missing': { library: string; problem: string }
  'outbox.unit_over': { operation: string }
  'outbox.unit_too_long': { store: string; limitMs: number }
  'outbox.unit_nested': { operation: string }
  'outbox.not_attached': { store: string; operation: string }
  'outbox.attached_twice': { store: string; service: string }
  'outbox.id_collision': { id: string; source: string; group: string }
  'outbox.retention_too_short': { retentionMs: number; horizonMs: number; problem: string }
  'outbox.timer_invalid': { id: string; problem: string }
  'outbox.body_missing': { id: string }
  'outbox.too_old': { id: string; type: string; time: string }
  'saga.definition_invalid': { saga: string; problem: string }
  'saga.timer_invalid': { timer: string; problem: string }
  'saga.timer_missing': { saga: string; instance: string }
  'saga.correlation_missing': { saga: string; type: string; id: string; problem: string }
  'saga.correlation_ambiguous': { saga: string; type: string; id: string; instances: readonly string[] }
  'saga.message_refused': { saga: string; type: string; id: string; problem: string }
  'saga.instance_missing': { saga: string; instance: string }
  'saga.action_refused': { saga: string; instance: string; action: string; problem: string }
  'saga.version_unknown': { saga: string; instance: string; version: number }
  'saga.version_missing': { saga: string; versions: readonly number[]; known: readonly number[] }
  'saga.migration_failed': { saga: string; instance: string; problem: string }
  'saga.repeated_too_often': { saga: string; instance: string; step: string; timesMax: number }
  'saga.function_failed': { saga: string; problem: string }
  'saga.compensation_failed': { saga: string; run: string; problem: string }
  'saga.stream_full': { saga: string; instance: string; events: number; eventsMax: number }
  'discovery.setting_invalid': { setting: string; problem: string }
  'discovery.setting_unknown': { setting: string; known: readonly string[] }
  'discovery.setting_revision_missing': { setting: string; revision: number }
  'discovery.settings_unstored': { operation: string }
  'resilience.timeout': { name: string; timeoutMs: number }
  'resilience.circuit_open': { name: string; retryAfterMs: number }
  'resilience.bulkhead_full': { name: string; inFlightMax: number; waitingMax: number }
  'resilience.rate_limited': { name: string; retryAfterMs: number }
  'resilience.shed': { name: string; waitedMs: number; retryAfterMs: number }
  'resilience.cancelled': { name: string }
  'gateway.route_invalid': { route: string; problem: string }
  'gateway.route_missing': { path: string }
  'gateway.method_refused': { method: string; path: string; allowed: readonly string[] }
  'gateway.request_malformed': { part: string; problem: string }
  'gateway.media_type_refused': { given: string; accepted: string }
  'gateway.head_too_large': { what: string; bytes: number; bytesMax: number }
  'gateway.unauthenticated': { challenge: string }
  'gateway.forbidden': { problem: string }
  'gateway.origin_refused': { origin: string }
  'gateway.host_refused': { host: string }
  'gateway.precondition_missing': { header: string }
  'gateway.key_missing': { header: string }
  'gateway.key_reused': { key: string }
  'gateway.key_in_progress': { key: string }
  'gateway.draining': { operation: string }
}

/** A code of the closed list above. */
export type ErrorCode = keyof ErrorDetails

/**
 * What the bus does with the message whose handling failed: `retry` redelivers it after a backoff,
 * `reject` dead-letters it at once, `stop` halts the subscription and keeps the message, because no
 * redelivery can succeed until someone changes code or configuration.
 */
export type Disposition = 'retry' | 'reject' | 'stop'

/** What belongs to one code. */
interface ErrorEntry<C extends ErrorCode> {
  readonly disposition: Disposition
  /** What happened and where, as a sentence without its full stop. */
  readonly says: (details: ErrorDetails[C]) => string
  /** What to do about it, in whole sentences; `docs/errors.md` tells the same. */
  readonly remedy: string
}

const PAYLOADS = { publish: 'The data that was to be sent', consume: 'The data of a received message', reply: 'The answer or declared error' } as const
const ISSUES_SAID_MAX = 3

/** Every code with its disposition and its words. */
export const errorRegistry: { readonly [C in ErrorCode]: ErrorEntry<C> } = {
  'core.invariant_broken': {
    disposition: 'stop',
    says: ({ expected }) => `Something that must hold does not: ${expected}`,
    remedy: 'This is a defect of Trunkline or of an adapter, unless one transport value was given to two buses. Report it with its stack.',
  },
  'core.option_invalid': {
    disposition: 'stop',
    says: ({ option, expected, actual }) => `The option ${option} is ${actual}, and must be ${expected}`,
    remedy: 'Correct the option.',
  },
  'core.option_unknown': {
    disposition: 'stop',
    says: ({ option, place, nearest, known }) =>
      `${place} has no option ${quoted(option)}${nearest === undefined ? '.' : `; did you mean ${quoted(nearest)}?`} Known are ${known.join(', ')}`,
    remedy: 'Correct the name, or take it out.',
  },
  'core.peer_missing': {
    disposition: 'stop',
    says: ({ package: name, install }) => `The package ${name} is needed here and is not installed: ${install}`,
    remedy: 'Install it beside trunkline.',
  },
  'contract.definition_invalid': {
    disposition: 'stop',
    says: ({ type, problem }) => `The contract ${quoted(type)} cannot be used like this: ${problem}`,
    remedy: 'Correct the definition, or the call that it does not fit.',
  },
  'contract.definition_conflict': {
    disposition: 'stop',
    says: ({ type, problem }) => `One bus has two different definitions of ${type}: ${problem}`,
    remedy: 'Share one definition, or give the newer one a higher version.',
  },
  'contract.payload_invalid': {
    disposition: 'reject',
    says: ({ type, during, issues }) => `${PAYLOADS[during]} does not fit the schema of ${type}: ${issuesText(issues)}`,
    remedy: 'When sending, correct the data. When consuming, look at the dead letter: its producer works with another schema.',
  },
  'contract.payload_unencodable': {
    disposition: 'reject',
    says: ({ type, path, problem }) => `The data for ${type} cannot travel as JSON: ${path === '' ? 'the whole value' : path}: ${problem}`,
    remedy: 'Give the schema an encoding, text for a bigint for instance.',
  },
  'contract.payload_too_large': {
    disposition: 'reject',
    says: ({ type, bytes, bytesMax }) => `A body of ${type} has ${bytes} bytes, and at most ${bytesMax} may travel`,
    remedy: 'Send a reference to the data instead of the data, or raise bodyBytesMax on both sides.',
  },
  'contract.body_malformed': {
    disposition: 'reject',
    says: ({ type, problem }) => `The body of a message of ${type} cannot be read: ${problem}`,
    remedy: "Look at the dead letter's original bytes and correct their producer.",
  },
  'contract.message_foreign': {
    disposition: 'reject',
    says: ({ problem }) => `A message came in that is none of Trunkline's: ${problem}`,
    remedy: 'Find what else sends to this subject. The wire format page says which attributes a message needs.',
  },
  'contract.version_unknown': {
    disposition: 'reject',
    says: ({ type, version, versionMax }) => `A message of ${type} has version ${version}, and the contract of this service knows versions up to ${versionMax}`,
    remedy: 'Deploy the newer contract here, then redrive. Consumers are deployed before producers.',
  },
  'contract.upcast_failed': {
    disposition: 'reject',
    says: ({ type, fromVersion, problem }) => `The upcaster of ${type} from version ${fromVersion} threw: ${problem}`,
    remedy: 'Correct the upcaster, then redrive; the original bytes are kept.',
  },
  'contract.header_refused': {
    disposition: 'reject',
    says: ({ header, problem }) => `The header ${quoted(header)} cannot be sent: ${problem}`,
    remedy: 'Use another name or a shorter, printable value.',
  },
  'contract.attribute_invalid': {
    disposition: 'reject',
    says: ({ attribute, problem }) => `The attribute ${attribute} of a message cannot be sent: ${problem}`,
    remedy: 'Correct the attribute.',
  },
  'contract.declared_error': {
    disposition: 'reject',
    says: ({ type, name, data }) => `${type} was answered with its declared error ${quoted(name)}: ${dataText(data)}`,
    remedy: 'It is part of the contract: read it with errorIn(thrown) of the contract.',
  },
  'bus.unsupported': {
    disposition: 'stop',
    says: ({ adapter, capability, needed }) => `The transport ${adapter} does not offer ${capability}, which is needed here: ${needed}`,
    remedy: 'Choose another transport, or do without.',
  },
  'bus.subscription_conflict': {
    disposition: 'stop',
    says: ({ subscription, problem }) => `The subscription ${quoted(subscription)} cannot be made: ${problem}`,
    remedy: 'Use another group name, make the options agree, or remove the old subscription from the broker.',
  },
  'bus.not_running': {
    disposition: 'retry',
    says: ({ operation, state }) => `${operation} cannot be done: the bus is ${state === 'idle' ? 'not started' : state}`,
    remedy: 'Subscribe before start(), and use the bus between start() and stop().',
  },
  'bus.connection_lost': {
    disposition: 'retry',
    says: ({ adapter, problem }) => `The transport ${adapter} could not be used: ${problem}`,
    remedy: 'A bus that runs reconnects by itself. At start, check address, credentials and the broker.',
  },
  'bus.publish_timeout': {
    disposition: 'retry',
    says: ({ type, id, timeoutMs }) => `It is not known whether the message ${id} of ${type} was stored: no confirmation came within ${timeoutMs} ms`,
    remedy: 'Send it again with the same id: what was stored already is recognised by it.',
  },
  'bus.publish_refused': {
    disposition: 'retry',
    says: ({ type, id, problem }) => `The message ${id} of ${type} was refused and is not stored: ${problem}`,
    remedy: 'Look for a full disk, a limit of the broker or a missing permission, then send it again.',
  },
  'bus.overloaded': {
    disposition: 'retry',
    says: ({ what, limit }) => `There are too many ${what}: at most ${limit} at the same time`,
    remedy: 'Send more slowly, or find out why nothing gets done.',
  },
  'bus.type_unhandled': {
    disposition: 'reject',
    says: ({ type, group }) => `The group ${group} received a message of ${type} and has no handler for it`,
    remedy: 'Add a handler, then redrive. Where the type was taken out on purpose, end its subscription (see the transports page), then skip.',
  },
  'bus.handler_timeout': {
    disposition: 'retry',
    says: ({ type, group, timeoutMs }) => `The handler of ${type} in ${group} took longer than ${timeoutMs} ms`,
    remedy: "Honour the context's signal, do less per message, or raise timeoutMs.",
  },
  'bus.handler_failed': {
    disposition: 'retry',
    says: ({ type, group, problem }) => `The handler of ${type} in ${group} failed: ${problem}`,
    remedy: 'Read the cause, or the errors in the dead letter.',
  },
  'bus.rejected': {
    disposition: 'reject',
    says: ({ reason }) => `The handler gave the message up: ${reason}`,
    remedy: 'Redrive it when the reason is gone.',
  },
  'bus.attempts_exhausted': {
    disposition: 'reject',
    says: ({ type, group, attempts, problem }) => `A message of ${type} in ${group} used up its attempts (${attempts} are known): ${problem}`,
    remedy: 'Read the errors in the dead letter, correct their cause, then redrive.',
  },
  'bus.deadline_passed': {
    disposition: 'reject',
    says: ({ type, deadline }) => `A message of ${type} was to be handled by ${deadline}, and came too late`,
    remedy: 'Redrive it if it still counts: a redriven message is handled however late. Otherwise skip it, or allow more time.',
  },
  'bus.hops_exceeded': {
    disposition: 'reject',
    says: ({ type, hops, hopsMax }) => `A message of ${type} was caused by a chain of ${hops} messages, and at most ${hopsMax} are allowed`,
    remedy: 'Find the handlers that send to each other in a circle.',
  },
  'bus.ask_timeout': {
    disposition: 'retry',
    says: ({ type, timeoutMs }) => `${type} was not answered within ${timeoutMs} ms`,
    remedy: 'Ask again if it may run twice; allow more time, or look at the service that answers.',
  },
  'bus.ask_cancelled': {
    disposition: 'retry',
    says: ({ type }) => `The ask of ${type} was given up by its caller, or because the bus stopped`,
    remedy: 'Nothing is needed; a command that was sent may be handled nevertheless.',
  },
  'bus.no_responder': {
    disposition: 'retry',
    says: ({ type }) => `No running instance answers ${type}`,
    remedy: 'Start a service that does, and check that both use the same broker and namespace.',
  },
  'bus.answer_failed': {
    disposition: 'retry',
    says: ({ type, code, problem }) => `The service that answers ${type} failed with ${code}: ${problem}`,
    remedy: 'Look at the log of that service, by the correlation id.',
  },
  'bus.dead_letter_missing': {
    disposition: 'reject',
    says: ({ id }) => `There is no dead letter ${quoted(id)} (any more)`,
    remedy: 'List again: it may have been redriven or removed meanwhile.',
  },
  'bus.callee_overloaded': {
    disposition: 'retry',
    says: ({ type, problem, retryAfterMs }) => `The service that answers ${type} takes no more for now (${problem}) and wants to be asked again in ${retryAfterMs} ms`,
    remedy: 'Ask again after retryAfterMs, as the retry policy does; send less, or give that service more instances.',
  },
  'store.wrong_revision': {
    disposition: 'retry',
    says: ({ stream, expected, actual }) => `The stream ${quoted(stream)} was expected at ${expected} and is at ${actual}: somebody else appended first`,
    remedy: 'Load it again and decide anew; execute() of the store does so by itself.',
  },
  'store.conflict': {
    disposition: 'retry',
    says: ({ store, problem }) => `The database ${store} gave a transaction up: ${problem}`,
    remedy: 'Nothing is needed: the library runs the unit again. Where it happens often, touch rows in a fixed order.',
  },
  'store.rolled_back': {
    disposition: 'retry',
    says: ({ store, problem }) => `A commit on ${store} was answered by a rollback: ${problem}`,
    remedy: 'Do not catch errors of statements without a savepoint.',
  },
  'store.down': {
    disposition: 'retry',
    says: ({ store, problem }) => `The database ${store} cannot be reached, or the link broke; a commit that was under way may have happened: ${problem}`,
    remedy: 'Look at the database; the library goes on by itself when it is back.',
  },
  'store.refused': {
    disposition: 'reject',
    says: ({ store, problem }) => `The database ${store} refused a statement: ${problem}`,
    remedy: 'Look for a full disk, a missing permission, or a value that it cannot hold.',
  },
  'store.lease_lost': {
    disposition: 'retry',
    says: ({ store, lease }) => `Another process has taken over ${quoted(lease)} on ${store} from this one`,
    remedy: 'Nothing is needed; where it happens often, look for stalls of the event loop.',
  },
  'store.event_unreadable': {
    disposition: 'reject',
    says: ({ stream, revision, problem }) => `The event ${revision} of the stream ${quoted(stream)} cannot be decoded, lifted or validated: ${problem}`,
    remedy: 'Add the missing upcaster, or correct the contract.',
  },
  'discovery.attached_twice': {
    disposition: 'stop',
    says: ({ service }) => `What was given to this bus belongs to the bus of ${service} already`,
    remedy: 'Make one with discovery() or healthChecks() for each bus.',
  },
  'discovery.off': {
    disposition: 'stop',
    says: ({ problem }) => `Other instances cannot be found from here: ${problem}`,
    remedy: 'Give createBus a transport with broadcasts as light.',
  },
  'discovery.fetch_timeout': {
    disposition: 'retry',
    says: ({ address, timeoutMs }) => `${address} did not answer within ${timeoutMs} ms`,
    remedy: 'Look at the instance, or give the request more time with timeoutMs.',
  },
  'discovery.response_failed': {
    disposition: 'retry',
    says: ({ service, status }) => `${service} answered with ${status}`,
    remedy: 'A policy round directory.fetch sees this where the response is one of failure; look at the service.',
  },
  'discovery.no_instance': {
    disposition: 'retry',
    says: ({ wanted, problem }) => `There is nobody to call for ${wanted}: ${problem}`,
    remedy: 'Look at directory.all(), and wait with directory.waitFor() before the first call.',
  },
  'discovery.wait_timeout': {
    disposition: 'retry',
    says: ({ service, count, seen, timeoutMs }) => `Not ${count} but ${seen} instances of ${service} were up after ${timeoutMs} ms`,
    remedy: 'Look whether the service runs with discovery, on the same broker and namespace.',
  },
  'discovery.unrecorded': {
    disposition: 'reject',
    says: ({ at, problem }) => `Nobody can tell who was there at ${at}: ${problem}`,
    remedy: 'Give discovery() a record, and ask for a time since which it was kept.',
  },
  'outbox.transaction_missing': {
    disposition: 'reject',
    says: ({ library, problem }) => `The handle of ${library} given to the outbox is not inside a transaction: ${problem}`,
    remedy: 'Give the handle of the open transaction, not the pool or the database.',
  },
  'outbox.unit_over': {
    disposition: 'reject',
    says: ({ operation }) => `${operation} was called on a unit of work whose function had ended`,
    remedy: 'Await everything that the function starts.',
  },
  'outbox.unit_too_long': {
    disposition: 'retry',
    says: ({ store, limitMs }) => `A unit of work held the database ${store} longer than ${limitMs} ms`,
    remedy: 'Do slow work before the transaction, or raise the limit.',
  },
  'outbox.unit_nested': {
    disposition: 'reject',
    says: ({ operation }) => `${operation} was called inside a unit of work that it does not belong to`,
    remedy: 'Use the publish, send and append of the unit, or do it before or after.',
  },
  'outbox.not_attached': {
    disposition: 'stop',
    says: ({ store, operation }) => `${operation} was called on the store ${store} before a bus had it`,
    remedy: 'Give it to createBus({ outbox: store.outbox }), or use it with within.',
  },
  'outbox.attached_twice': {
    disposition: 'stop',
    says: ({ store, service }) => `The store ${store} belongs to the bus of ${service} already`,
    remedy: 'Make a store value for each bus.',
  },
  'outbox.id_collision': {
    disposition: 'reject',
    says: ({ id, source, group }) => `The message ${id} from ${source} is known to the group ${group} with another body`,
    remedy: 'Look at the producer: ids must be unique per source.',
  },
  'outbox.retention_too_short': {
    disposition: 'stop',
    says: ({ retentionMs, horizonMs, problem }) => `Marks of handled messages are kept for ${retentionMs} ms, while redeliveries can come for ${horizonMs} ms: ${problem}`,
    remedy: 'Raise inboxRetentionMs.',
  },
  'outbox.timer_invalid': {
    disposition: 'reject',
    says: ({ id, problem }) => `The schedule ${quoted(id)} means nothing: ${problem}`,
    remedy: 'Correct its instant, delay or recurrence.',
  },
  'outbox.body_missing': {
    disposition: 'retry',
    says: ({ id }) => `The body ${quoted(id)} that a message refers to is not in the store`,
    remedy: 'Look at the retention of bodies, and that both services share the store.',
  },
  'outbox.too_old': {
    disposition: 'reject',
    says: ({ id, type, time }) => `The message ${quoted(id)} of type ${quoted(type)} was made at ${time}, before publishNotBefore of the store`,
    remedy: 'Find out whether it was published before the restore; then remove it, or redrive it without publishNotBefore.',
  },
  'saga.definition_invalid': {
    disposition: 'stop',
    says: ({ saga, problem }) => `The saga ${quoted(saga)} cannot be run like this: ${problem}`,
    remedy: 'Correct the definition.',
  },
  'saga.timer_invalid': {
    disposition: 'reject',
    says: ({ timer, problem }) => `The alarm ${quoted(timer)} means nothing: ${problem}`,
    remedy: 'Correct its instant, delay or cron expression.',
  },
  'saga.timer_missing': {
    disposition: 'reject',
    says: ({ saga, instance }) => `The instance ${quoted(instance)} of the saga ${saga} waits with no alarm set, so that it could wait for ever`,
    remedy: "Set an alarm in every state that waits, or say waits: 'forever'; then resume the instance.",
  },
  'saga.correlation_missing': {
    disposition: 'reject',
    says: ({ saga, type, id, problem }) => `The message ${id} of ${type} belongs to no instance of the saga ${saga}: ${problem}`,
    remedy: 'Correct the correlate function, or the producer, then redrive.',
  },
  'saga.correlation_ambiguous': {
    disposition: 'reject',
    says: ({ saga, type, id, instances }) => `The message ${id} of ${type} belongs to several instances of the saga ${saga}: ${instances.join(', ')}`,
    remedy: 'Make all correlate functions of this contract tell the same, then redrive.',
  },
  'saga.message_refused': {
    disposition: 'reject',
    says: ({ saga, type, id, problem }) => `The saga ${saga} does not take the message ${id} of ${type}: ${problem}`,
    remedy: 'Choose another policy for early or late messages, correct the function that failed, or skip it; then redrive.',
  },
  'saga.instance_missing': {
    disposition: 'reject',
    says: ({ saga, instance }) => `There is no instance ${quoted(instance)} of the saga ${saga}`,
    remedy: 'Look for it by its correlation, with the tenant before it where there is one.',
  },
  'saga.action_refused': {
    disposition: 'reject',
    says: ({ saga, instance, action, problem }) => `${action} does not fit the instance ${quoted(instance)} of the saga ${saga}: ${problem}`,
    remedy: 'Inspect the instance, and choose what fits its state.',
  },
  'saga.version_unknown': {
    disposition: 'retry',
    says: ({ saga, instance, version }) => `The instance ${quoted(instance)} of the saga ${saga} runs by version ${version}, which this process does not have`,
    remedy: 'Run that version beside the new one, or declare a migration. Another process that has it may take the message.',
  },
  'saga.version_missing': {
    disposition: 'stop',
    says: ({ saga, versions, known }) => `The store holds unfinished instances of the saga ${saga} in version ${versions.join(', ')}, and this process has version ${known.join(', ')}`,
    remedy: 'Give those versions to runSagas, too, until their instances have ended, or declare a migration from them.',
  },
  'saga.migration_failed': {
    disposition: 'reject',
    says: ({ saga, instance, problem }) => `The instance ${quoted(instance)} of the saga ${saga} cannot be migrated: ${problem}`,
    remedy: 'Say in the migration what the step is called now, deploy, then resume the instance.',
  },
  'saga.repeated_too_often': {
    disposition: 'reject',
    says: ({ saga, instance, step, timesMax }) => `The step ${step} of the instance ${quoted(instance)} of the saga ${saga} was to be repeated more than ${timesMax} times`,
    remedy: 'Correct its condition, or raise timesMax; then resume the instance.',
  },
  'saga.function_failed': {
    disposition: 'reject',
    says: ({ saga, problem }) => `A function of the saga ${saga} failed: ${problem}`,
    remedy: 'Correct it, deploy, then resume the quarantined instances.',
  },
  'saga.compensation_failed': {
    disposition: 'reject',
    says: ({ saga, run, problem }) => `${run} of the saga ${saga} could not be undone: ${problem}`,
    remedy: 'Find out why the compensation is refused or not answered, then retry-step or skip-step of the instance.',
  },
  'saga.stream_full': {
    disposition: 'reject',
    says: ({ saga, instance, events, eventsMax }) => `The instance ${quoted(instance)} of the saga ${saga} has ${events} events, at most ${eventsMax}`,
    remedy: 'Something in it goes round in circles; find it in the history, then cancel or compensate the instance.',
  },
  'discovery.setting_invalid': {
    disposition: 'reject',
    says: ({ setting, problem }) => `The value does not fit the setting ${quoted(setting)}: ${problem}`,
    remedy: 'Correct the value. What was set before still holds.',
  },
  'discovery.setting_unknown': {
    disposition: 'stop',
    says: ({ setting, known }) => `The setting ${quoted(setting)} is not one of those that these settings were made with: ${known.join(', ')}`,
    remedy: 'Add it to the list given to settings().',
  },
  'discovery.setting_revision_missing': {
    disposition: 'reject',
    says: ({ setting, revision }) => `The setting ${quoted(setting)} has no revision ${revision}`,
    remedy: 'Look at its history.',
  },
  'discovery.settings_unstored': {
    disposition: 'stop',
    says: ({ operation }) => `${operation} of settings needs an event store, and these settings have none or their bus is not started`,
    remedy: 'Give settings() the events of a store that belongs to the bus, or change them where such a store is.',
  },
  'resilience.timeout': {
    disposition: 'retry',
    says: ({ name, timeoutMs }) => `The call of ${name} took longer than ${timeoutMs} ms`,
    remedy: 'Allow more time, or look at what is called; it may go on with it nevertheless.',
  },
  'resilience.circuit_open': {
    disposition: 'retry',
    says: ({ name, retryAfterMs }) => `${name} was not called, because too many calls before failed; the next trial is in ${retryAfterMs} ms`,
    remedy: 'Look at what is called. Give the call a fallback where it can do without.',
  },
  'resilience.bulkhead_full': {
    disposition: 'retry',
    says: ({ name, inFlightMax, waitingMax }) => `${name} was not called: ${inFlightMax} calls are under way and ${waitingMax} wait`,
    remedy: 'Call less at the same time, or raise inFlightMax if what is called can bear it.',
  },
  'resilience.rate_limited': {
    disposition: 'retry',
    says: ({ name, retryAfterMs }) => `${name} was not called, because its permits are used up; the next one is there in ${retryAfterMs} ms`,
    remedy: 'Call after retryAfterMs, let the policy wait with waitMaxMs, or raise the rate.',
  },
  'resilience.shed': {
    disposition: 'retry',
    says: ({ name, waitedMs, retryAfterMs }) => `${name} was not called: it had waited for ${waitedMs} ms, too long while the queue does not empty; call again in ${retryAfterMs} ms`,
    remedy: 'Call less, or add instances: more comes in than gets done.',
  },
  'resilience.cancelled': {
    disposition: 'retry',
    says: ({ name }) => `${name} was not called (again), because its caller gave it up while it waited`,
    remedy: 'Nothing is needed.',
  },
  'gateway.route_invalid': {
    disposition: 'reject',
    says: ({ route, problem }) => `The route ${quoted(route)} cannot be served: ${problem}`,
    remedy: 'Correct its options, or the contract that it stands on.',
  },
  'gateway.route_missing': {
    disposition: 'reject',
    says: ({ path }) => `There is nothing at ${quoted(path)}`,
    remedy: 'Look into the OpenAPI document for the paths that there are.',
  },
  'gateway.method_refused': {
    disposition: 'reject',
    says: ({ method, path, allowed }) => `${quoted(path)} does not take ${method}, only ${allowed.join(', ')}`,
    remedy: 'Use one of the methods of the Allow header.',
  },
  'gateway.request_malformed': {
    disposition: 'reject',
    says: ({ part, problem }) => `The ${part} of the request cannot be read: ${problem}`,
    remedy: 'Correct the request.',
  },
  'gateway.media_type_refused': {
    disposition: 'reject',
    says: ({ given, accepted }) => `A body of ${given === '' ? 'no media type' : quoted(given)} is not taken, only ${accepted}`,
    remedy: 'Send JSON, uncompressed, with its Content-Type.',
  },
  'gateway.head_too_large': {
    disposition: 'reject',
    says: ({ what, bytes, bytesMax }) => `The ${what} of the request has ${bytes} bytes, and at most ${bytesMax} are taken`,
    remedy: 'Send less, or raise the limit of the gateway.',
  },
  'gateway.unauthenticated': {
    disposition: 'reject',
    says: ({ challenge }) => `It is not known who asks; what is wanted is ${challenge}`,
    remedy: 'Send the credentials that the WWW-Authenticate header asks for.',
  },
  'gateway.forbidden': {
    disposition: 'reject',
    says: ({ problem }) => `The caller may not do this: ${problem}`,
    remedy: 'Ask for the right to do it.',
  },
  'gateway.origin_refused': {
    disposition: 'reject',
    says: ({ origin }) => `Pages of ${quoted(origin)} may not send this`,
    remedy: 'Name the origin in the cors option of the gateway, if it is to be trusted.',
  },
  'gateway.host_refused': {
    disposition: 'reject',
    says: ({ host }) => `This server does not answer for the host ${quoted(host)}`,
    remedy: 'Name the host in the hosts option of serve, if it is one of its own.',
  },
  'gateway.precondition_missing': {
    disposition: 'reject',
    says: ({ header }) => `The request lacks the header ${header}, without which it would overwrite what others did`,
    remedy: 'Read first, and send the ETag of what was read.',
  },
  'gateway.key_missing': {
    disposition: 'reject',
    says: ({ header }) => `The request lacks the header ${header}, which this route asks for`,
    remedy: 'Send a fresh UUID, and the same one when the request is repeated.',
  },
  'gateway.key_reused': {
    disposition: 'reject',
    says: ({ key }) => `The idempotency key ${quoted(key)} was used for another request`,
    remedy: 'Use a fresh key for each new request.',
  },
  'gateway.key_in_progress': {
    disposition: 'reject',
    says: ({ key }) => `The first request with the idempotency key ${quoted(key)} is still being answered`,
    remedy: 'Repeat it later with the same key.',
  },
  'gateway.draining': {
    disposition: 'reject',
    says: ({ operation }) => `The gateway is being stopped and takes no more: ${operation}`,
    remedy: 'Repeat the request; another instance takes it.',
  },
}

/** Every code with what the bus does next; `docs/errors.md` is checked against it. */
export const errorDispositions: Readonly<Record<ErrorCode, Disposition>> = Object.fromEntries(
  Object.entries(errorRegistry).map(([code, { disposition }]) => [code, disposition]),
  // The entries were those of a record with just these keys.
) as Record<ErrorCode, Disposition>

/** What happened, where, and what to do, in sentences. It never throws: details can come from callers without types. */
export function errorSentences<C extends ErrorCode>(code: C, details: ErrorDetails[C]): string {
  const { says, remedy } = errorRegistry[code]
  try {
    return `${says(details).replace(/[\s.]+$/, '')}. ${remedy}`
  } catch {
    return remedy
  }
}

function quoted(text: string): string {
  return `"${text}"`
}

function issuesText(issues: readonly Issue[]): string {
  const said = issues.slice(0, ISSUES_SAID_MAX).map(({ path, rule }) => (path === '' ? rule : `${path}: ${rule}`))
  return issues.length > ISSUES_SAID_MAX ? `${said.join('; ')}; and ${issues.length - ISSUES_SAID_MAX} more` : said.join('; ')
}

const DATA_TEXT_MAX = 500

/** Data as one line of JSON; `bigint` as text, cycles and other surprises as a note. */
function dataText(data: unknown): string {
  try {
    const text: string | undefined = JSON.stringify(data, (_name, value: unknown) => (typeof value === 'bigint' ? `${value}` : value))
    return (text ?? 'no data').slice(0, DATA_TEXT_MAX).toWellFormed()
  } catch {
    return 'data that JSON cannot hold'
  }
}
