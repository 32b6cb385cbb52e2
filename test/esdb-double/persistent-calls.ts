import { status, type sendUnaryData, type ServerDuplexStream, type ServerUnaryCall } from '@grpc/grpc-js'
import type {
  CreateReq, CreateResp, DeleteReq, DeleteResp, GetInfoReq, GetInfoResp, ListReq, ListResp, ReadReq, ReadResp, ReplayParkedReq, ReplayParkedResp,
  SubscriptionInfo, UpdateReq, UpdateResp,
} from '@eventstore/db-client/generated/persistent_pb.js'
import { errorOf, exception, type Faults } from './faults.ts'
import type { DoubleLog } from './log.ts'
import { idText, nameOf } from './messages.ts'
import { type GroupSettings, groupStream, PersistentGroup, systemEvent } from './persistent-group.ts'
import { persistent } from './protos.ts'

const CONFIG = '$persistentSubscriptionConfig'
const ACTIONS = ['unknown', 'park', 'retry', 'skip', 'stop'] as const
/** What a client sends as revision for "from the end". */
const END = 18_446_744_073_709_551_615n

type Failure = ReturnType<typeof exception>

/** The service for persistent subscriptions. Their settings are kept in the log, as a server does. */
export class PersistentCalls {
  readonly #log: DoubleLog
  readonly #faults: Faults
  readonly #groups = new Map<string, PersistentGroup>()

  constructor(log: DoubleLog, faults: Faults) {
    this.#log = log
    this.#faults = faults
    const stored = log.eventsOf(CONFIG).at(-1)
    if (stored === undefined) return
    const all: readonly GroupSettings[] = JSON.parse(Buffer.from(stored.data).toString())
    for (const settings of all) this.#groups.set(keyOf(settings.stream, settings.group), new PersistentGroup(settings, log, faults))
  }

  /** For tests. */
  group(stream: string, group: string): PersistentGroup | undefined {
    return this.#groups.get(keyOf(stream, group))
  }

  close(): void {
    for (const group of this.#groups.values()) group.abandon()
  }

  create(call: ServerUnaryCall<CreateReq, CreateResp>, answer: sendUnaryData<CreateResp>): void {
    void this.#admin(answer, () => {
      const settings = this.#settingsOf(call.request)
      const key = keyOf(settings.stream, settings.group)
      if (this.#groups.has(key)) return failure(status.ALREADY_EXISTS, 'persistent-subscription-exists', settings)
      this.#groups.set(key, new PersistentGroup(settings, this.#log, this.#faults))
      this.#save()
      return new persistent.CreateResp()
    })
  }

  update(call: ServerUnaryCall<UpdateReq, UpdateResp>, answer: sendUnaryData<UpdateResp>): void {
    void this.#admin(answer, () => {
      const settings = this.#settingsOf(call.request)
      const key = keyOf(settings.stream, settings.group)
      const group = this.#groups.get(key)
      if (group === undefined) return failure(status.NOT_FOUND, 'persistent-subscription-does-not-exist', settings)
      group.end('persistent-subscription-dropped')
      const { prefixes, regex, filtersTypes } = group.settings
      this.#groups.set(key, new PersistentGroup({ ...settings, prefixes, regex, filtersTypes, after: `${group.checkpoint}` }, this.#log, this.#faults))
      this.#save()
      return new persistent.UpdateResp()
    })
  }

  delete(call: ServerUnaryCall<DeleteReq, DeleteResp>, answer: sendUnaryData<DeleteResp>): void {
    void this.#admin(answer, () => {
      const options = call.request.getOptions()
      const stream = options?.hasAll() === true ? '$all' : nameOf(options?.getStreamIdentifier())
      const group = options?.getGroupName() ?? ''
      const found = this.#groups.get(keyOf(stream, group))
      if (found === undefined) return failure(status.NOT_FOUND, 'persistent-subscription-does-not-exist', { stream, group })
      this.#groups.delete(keyOf(stream, group))
      found.end('persistent-subscription-does-not-exist')
      this.#log.softDelete(groupStream({ stream, group }, 'checkpoint'), 'any')
      this.#save()
      return new persistent.DeleteResp()
    })
  }

  read(call: ServerDuplexStream<ReadReq, ReadResp>): void {
    let leave = (): void => undefined
    let group: PersistentGroup | undefined
    call.on('error', () => leave())
    call.on('cancelled', () => leave())
    call.on('end', () => {
      leave()
      call.end()
    })
    call.on('data', (request: ReadReq) => {
      const options = request.getOptions()
      if (options !== undefined) {
        void this.#join(call, options).then((joined) => {
          group = joined?.group
          leave = joined?.leave ?? leave
        })
      }
      const [ack, nack] = [request.getAck(), request.getNack()]
      if (ack !== undefined) group?.ack(ack.getIdsList().map(idText))
      if (nack !== undefined) group?.nack(nack.getIdsList().map(idText), ACTIONS[nack.getAction()] ?? 'skip')
    })
  }

  getInfo(call: ServerUnaryCall<GetInfoReq, GetInfoResp>, answer: sendUnaryData<GetInfoResp>): void {
    void this.#admin(answer, () => {
      const options = call.request.getOptions()
      const stream = options?.hasAll() === true ? '$all' : nameOf(options?.getStreamIdentifier())
      const group = options?.getGroupName() ?? ''
      const found = this.#groups.get(keyOf(stream, group))
      if (found === undefined) return failure(status.NOT_FOUND, 'persistent-subscription-does-not-exist', { stream, group })
      return new persistent.GetInfoResp().setSubscriptionInfo(infoOf(found))
    })
  }

  list(call: ServerUnaryCall<ListReq, ListResp>, answer: sendUnaryData<ListResp>): void {
    void this.#admin(answer, () => {
      const wanted = call.request.getOptions()?.getListForStream()
      const stream = wanted?.hasAll() === true ? '$all' : wanted === undefined ? undefined : nameOf(wanted.getStream())
      const found = [...this.#groups.values()].filter(({ settings }) => stream === undefined || settings.stream === stream)
      if (stream !== undefined && found.length === 0) return failure(status.NOT_FOUND, 'persistent-subscription-does-not-exist', { stream, group: '' })
      return new persistent.ListResp().setSubscriptionsList(found.map(infoOf))
    })
  }

  replayParked(call: ServerUnaryCall<ReplayParkedReq, ReplayParkedResp>, answer: sendUnaryData<ReplayParkedResp>): void {
    void this.#admin(answer, () => {
      const options = call.request.getOptions()
      const stream = options?.hasAll() === true ? '$all' : nameOf(options?.getStreamIdentifier())
      const group = options?.getGroupName() ?? ''
      const found = this.#groups.get(keyOf(stream, group))
      if (found === undefined) return failure(status.NOT_FOUND, 'persistent-subscription-does-not-exist', { stream, group })
      found.replayParked(options?.hasStopAt() === true ? Number(options.getStopAt()) : undefined)
      return new persistent.ReplayParkedResp()
    })
  }

  async #join(call: ServerDuplexStream<ReadReq, ReadResp>, options: ReadReq.Options): Promise<{ readonly group: PersistentGroup; readonly leave: () => void } | undefined> {
    const fault = await this.#faults.meet('persistentRead')
    if (fault?.kind === 'stall') return undefined
    if (fault?.kind === 'status' || fault?.kind === 'tooSlow') return void call.emit('error', errorOf(fault))
    if (fault !== undefined) return void call.end()
    const stream = options.hasAll() ? '$all' : nameOf(options.getStreamIdentifier())
    const name = options.getGroupName()
    const group = this.#groups.get(keyOf(stream, name))
    const trailers = { 'stream-name': stream, 'group-name': name }
    if (group === undefined) return void call.emit('error', exception(status.NOT_FOUND, 'persistent-subscription-does-not-exist', trailers))
    const consumer = group.join(call, options.getBufferSize())
    if (consumer === undefined) return void call.emit('error', exception(status.FAILED_PRECONDITION, 'maximum-subscribers-reached', trailers))
    const untrack = this.#faults.track({
      name: 'persistentRead',
      end: (given) => {
        if (given.kind === 'status' || given.kind === 'tooSlow') call.emit('error', errorOf(given))
        else call.end()
        leave()
      },
    })
    const leave = (): void => {
      untrack()
      group.leave(consumer)
    }
    if (call.cancelled) leave()
    return { group, leave }
  }

  async #admin<R extends object>(answer: sendUnaryData<R>, work: () => R | { readonly failed: Failure }): Promise<void> {
    const fault = await this.#faults.meet('persistentAdmin')
    if (fault?.kind === 'stall') return
    if (fault?.kind === 'status' && fault.isDone !== true) return answer(errorOf(fault))
    const result = work()
    if (fault?.kind === 'dropReply') return
    if (fault?.kind === 'status') return answer(errorOf(fault))
    if ('failed' in result) return answer(result.failed)
    answer(null, result)
  }

  #settingsOf(request: CreateReq | UpdateReq): GroupSettings {
    const options = request.getOptions()
    const settings = options?.getSettings()
    const all = options?.getAll()
    const stream = all === undefined ? nameOf(options?.getStreamIdentifier() ?? options?.getStream()?.getStreamIdentifier()) : '$all'
    const filter = all !== undefined && 'getFilter' in all ? all.getFilter() : undefined
    const expression = filter?.getStreamIdentifier() ?? filter?.getEventType()
    return {
      stream,
      group: options?.getGroupName() ?? '',
      after: `${all === undefined ? this.#afterRevision(stream, BigInt(settings?.getRevision() ?? '0')) : this.#afterPosition(all)}`,
      prefixes: expression?.getPrefixList() ?? [],
      regex: expression?.getRegex() ?? '',
      filtersTypes: filter?.hasEventType() ?? false,
      maxRetryCount: settings?.getMaxRetryCount() ?? 10,
      messageTimeoutMs: settings?.getMessageTimeoutMs() ?? 30_000,
      maxSubscribers: settings?.getMaxSubscriberCount() ?? 0,
      checkpointMin: settings?.getMinCheckpointCount() ?? 10,
      checkpointMax: settings?.getMaxCheckpointCount() ?? 1_000,
      checkpointAfterMs: settings?.getCheckpointAfterMs() ?? 2_000,
    }
  }

  #afterRevision(stream: string, from: bigint): bigint {
    return from === END ? (this.#log.lastRevision(stream) ?? -1n) : from - 1n
  }

  #afterPosition(all: CreateReq.AllOptions | UpdateReq.AllOptions): bigint {
    if (all.hasPosition()) return BigInt(all.getPosition()?.getCommitPosition() ?? '0') - 1n
    return all.hasEnd() ? this.#log.head : -1n
  }

  #save(): void {
    const all = [...this.#groups.values()].map(({ settings }) => settings)
    this.#log.append(CONFIG, 'any', [systemEvent('$PersistentConfig1', JSON.stringify(all))])
  }
}

function failure(code: status, name: string, { stream, group }: { readonly stream: string; readonly group: string }): { readonly failed: Failure } {
  return { failed: exception(code, name, { 'stream-name': stream, 'group-name': group }) }
}

function keyOf(stream: string, group: string): string {
  return `${stream}::${group}`
}

function infoOf(group: PersistentGroup): SubscriptionInfo {
  const { settings } = group
  const info = new persistent.SubscriptionInfo()
  info.setEventSource(settings.stream).setGroupName(settings.group).setStatus('Live').setTotalItems('0').setCountSinceLastMeasurement('0')
  info.setLastCheckpointedEventPosition(`${group.checkpoint < 0n ? 0n : group.checkpoint}`).setLastKnownEventPosition('0').setLiveBufferCount('0')
  info.setStartFrom('0').setMessageTimeoutMilliseconds(settings.messageTimeoutMs).setMaxRetryCount(settings.maxRetryCount)
  info.setTotalInFlightMessages(group.inFlightCount).setOutstandingMessagesCount(group.inFlightCount).setRetryBufferCount(group.retryCount)
  info.setNamedConsumerStrategy('RoundRobin').setMaxSubscriberCount(settings.maxSubscribers).setParkedMessageCount(`${group.parkedCount}`)
  return info
}
