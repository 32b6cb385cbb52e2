import { status, type sendUnaryData, type ServerDuplexStream, type ServerReadableStream, type ServerUnaryCall } from '@grpc/grpc-js'
import type {
  AppendReq, AppendResp, BatchAppendReq, BatchAppendResp, DeleteReq, DeleteResp, TombstoneReq, TombstoneResp,
} from '@eventstore/db-client/generated/streams_pb.js'
import { errorOf, exception, type Faults } from './faults.ts'
import type { AppendOutcome, DoubleLog, Expected, Proposed } from './log.ts'
import { expectedOf, idOf, idText, identifierOf, nameOf, proposedOf } from './messages.ts'
import { Any, GoogleEmpty, shared, statuses, streams } from './protos.ts'

/** Largest append in bytes of data and metadata, as a server has it by default. */
const APPEND_BYTES_MAX = 1_048_576

/** The calls that write. */
export class StreamCalls {
  readonly #log: DoubleLog
  readonly #faults: Faults

  constructor(log: DoubleLog, faults: Faults) {
    this.#log = log
    this.#faults = faults
  }

  /** The older way: one call per append. */
  append(call: ServerReadableStream<AppendReq, AppendResp>, answer: sendUnaryData<AppendResp>): void {
    let options: AppendReq.Options | undefined
    const events: Proposed[] = []
    call.on('data', (request: AppendReq) => {
      options ??= request.getOptions()
      const message = request.getProposedMessage()
      if (message !== undefined) events.push(proposedOf(message))
    })
    call.on('error', () => undefined)
    call.on('end', () => {
      // A link that breaks in the middle ends the call as well: then nothing of it may be written.
      setImmediate(() => {
        if (call.cancelled) return
        void this.#answer(() => this.#append(nameOf(options?.getStreamIdentifier()), options === undefined ? 'any' : expectedOf(options), events), answer)
      })
    })
  }

  async #answer(work: () => { readonly response?: AppendResp; readonly error?: ReturnType<typeof exception> }, answer: sendUnaryData<AppendResp>): Promise<void> {
    const fault = await this.#faults.meet('append')
    if (fault?.kind === 'stall') return
    if (fault?.kind === 'status' && fault.isDone !== true) return answer(errorOf(fault))
    const { response, error } = work()
    await this.#faults.thawed()
    if (fault?.kind === 'dropReply') return
    if (fault?.kind === 'status') return answer(errorOf(fault))
    if (error !== undefined) return answer(error)
    answer(null, response ?? new streams.AppendResp())
  }

  #append(stream: string, expected: Expected, events: readonly Proposed[]): { readonly response?: AppendResp; readonly error?: ReturnType<typeof exception> } {
    if (sizeOf(events) > APPEND_BYTES_MAX) {
      return { error: exception(status.INVALID_ARGUMENT, 'maximum-append-size-exceeded', { 'maximum-append-size': `${APPEND_BYTES_MAX}` }) }
    }
    if (events.some(({ type }) => type === '')) {
      return { error: exception(status.INVALID_ARGUMENT, 'missing-required-metadata-property', { 'required-metadata-properties': 'type' }) }
    }
    const outcome = this.#log.append(stream, expected, events)
    const response = new streams.AppendResp()
    if (outcome.kind === 'deleted') return { error: exception(status.FAILED_PRECONDITION, 'stream-deleted', { 'stream-name': stream }) }
    if (outcome.kind === 'wrong') {
      const wrong = new streams.AppendResp.WrongExpectedVersion()
      if (outcome.current === undefined) wrong.setCurrentNoStream(new shared.Empty())
      else wrong.setCurrentRevision(`${outcome.current}`)
      if (typeof expected === 'bigint') wrong.setExpectedRevision(`${expected}`)
      else if (expected === 'no_stream') wrong.setExpectedNoStream(new shared.Empty())
      else if (expected === 'stream_exists') wrong.setExpectedStreamExists(new shared.Empty())
      else wrong.setExpectedAny(new shared.Empty())
      return { response: response.setWrongExpectedVersion(wrong) }
    }
    const success = new streams.AppendResp.Success()
    if (outcome.revision === undefined) success.setNoStream(new shared.Empty())
    else success.setCurrentRevision(`${outcome.revision}`)
    if (outcome.position === undefined) success.setNoPosition(new shared.Empty())
    else success.setPosition(new streams.AppendResp.Position().setCommitPosition(`${outcome.position}`).setPreparePosition(`${outcome.position}`))
    return { response: response.setSuccess(success) }
  }

  /** The newer way: one call for all appends of a client. */
  batchAppend(call: ServerDuplexStream<BatchAppendReq, BatchAppendResp>): void {
    const open = new Map<string, { readonly options: BatchAppendReq.Options; readonly events: Proposed[] }>()
    const untrack = this.#faults.track({
      name: 'batchAppend',
      end: (fault) => {
        if (fault.kind === 'status') call.emit('error', errorOf(fault))
        else call.end()
      },
    })
    call.on('data', (request: BatchAppendReq) => {
      const id = idText(request.getCorrelationId())
      const options = request.getOptions()
      if (options !== undefined) open.set(id, { options, events: [] })
      const pending = open.get(id)
      if (pending === undefined) return
      pending.events.push(...request.getProposedMessagesList().map(proposedOf))
      if (!request.getIsFinal()) return
      open.delete(id)
      void this.#batch(call, id, pending.options, pending.events)
    })
    call.on('error', () => undefined)
    call.on('cancelled', untrack)
    call.on('end', () => {
      untrack()
      call.end()
    })
  }

  async #batch(call: ServerDuplexStream<BatchAppendReq, BatchAppendResp>, id: string, options: BatchAppendReq.Options, events: readonly Proposed[]): Promise<void> {
    const fault = await this.#faults.meet('batchAppend')
    if (fault?.kind === 'stall') return
    if (fault?.kind === 'endOk') return void call.end()
    if (fault?.kind === 'status' && fault.isDone !== true) return void call.emit('error', errorOf(fault))
    const stream = nameOf(options.getStreamIdentifier())
    const response = new streams.BatchAppendResp()
    response.setCorrelationId(idOf(id))
    response.setStreamIdentifier(identifierOf(stream))
    this.#batchOutcome(response, stream, options, events)
    await this.#faults.thawed()
    if (fault?.kind === 'dropReply') return
    if (fault?.kind === 'status') return void call.emit('error', errorOf(fault))
    if (!call.cancelled) call.write(response)
  }

  #batchOutcome(response: BatchAppendResp, stream: string, options: BatchAppendReq.Options, events: readonly Proposed[]): void {
    const deadline = options.getDeadline()
    if (deadline !== undefined && deadline.toDate().getTime() <= Date.now()) {
      return fail(response, 4, 'event_store.client.Timeout', new shared.Timeout().serializeBinary())
    }
    if (sizeOf(events) > APPEND_BYTES_MAX) {
      return fail(response, 3, 'event_store.client.MaximumAppendSizeExceeded', new shared.MaximumAppendSizeExceeded().setMaxappendsize(APPEND_BYTES_MAX).serializeBinary())
    }
    const expected = options.hasStreamPosition() ? BigInt(options.getStreamPosition()) : options.hasNoStream() ? 'no_stream' : options.hasStreamExists() ? 'stream_exists' : 'any'
    const outcome = this.#log.append(stream, expected, events)
    if (outcome.kind === 'deleted') return fail(response, 5, 'event_store.client.StreamDeleted', new shared.StreamDeleted().setStreamIdentifier(identifierOf(stream)).serializeBinary())
    if (outcome.kind === 'wrong') return fail(response, 6, 'event_store.client.WrongExpectedVersion', wrongOf(outcome, expected).serializeBinary())
    const success = new streams.BatchAppendResp.Success()
    if (outcome.revision === undefined) success.setNoStream(new GoogleEmpty())
    else success.setCurrentRevision(`${outcome.revision}`)
    if (outcome.position === undefined) success.setNoPosition(new GoogleEmpty())
    else success.setPosition(new shared.AllStreamPosition().setCommitPosition(`${outcome.position}`).setPreparePosition(`${outcome.position}`))
    response.setSuccess(success)
  }

  delete(call: ServerUnaryCall<DeleteReq, DeleteResp>, answer: sendUnaryData<DeleteResp>): void {
    const options = call.request.getOptions()
    const stream = nameOf(options?.getStreamIdentifier())
    void this.#end('delete', stream, () => this.#log.softDelete(stream, options === undefined ? 'any' : expectedOf(options)), answer, (position) => {
      return new streams.DeleteResp().setPosition(new streams.DeleteResp.Position().setCommitPosition(position).setPreparePosition(position))
    })
  }

  tombstone(call: ServerUnaryCall<TombstoneReq, TombstoneResp>, answer: sendUnaryData<TombstoneResp>): void {
    const options = call.request.getOptions()
    const stream = nameOf(options?.getStreamIdentifier())
    void this.#end('tombstone', stream, () => this.#log.tombstone(stream, options === undefined ? 'any' : expectedOf(options)), answer, (position) => {
      return new streams.TombstoneResp().setPosition(new streams.TombstoneResp.Position().setCommitPosition(position).setPreparePosition(position))
    })
  }

  async #end<R>(name: 'delete' | 'tombstone', stream: string, work: () => AppendOutcome, answer: sendUnaryData<R>, made: (position: string) => R): Promise<void> {
    const fault = await this.#faults.meet(name)
    if (fault?.kind === 'stall') return
    if (fault?.kind === 'status') return answer(errorOf(fault))
    const outcome = work()
    if (fault?.kind === 'dropReply') return
    if (outcome.kind === 'deleted') return answer(exception(status.FAILED_PRECONDITION, 'stream-deleted', { 'stream-name': stream }))
    if (outcome.kind === 'wrong') {
      const trailers = { 'stream-name': stream, 'expected-version': '-2', 'actual-version': `${outcome.current ?? -1n}` }
      return answer(exception(status.FAILED_PRECONDITION, 'wrong-expected-version', trailers))
    }
    answer(null, made(`${outcome.position ?? 0n}`))
  }
}

function wrongOf(outcome: Extract<AppendOutcome, { kind: 'wrong' }>, expected: Expected): InstanceType<typeof shared.WrongExpectedVersion> {
  const wrong = new shared.WrongExpectedVersion()
  if (outcome.current === undefined) wrong.setCurrentNoStream(new GoogleEmpty())
  else wrong.setCurrentStreamRevision(`${outcome.current}`)
  if (typeof expected === 'bigint') wrong.setExpectedStreamPosition(`${expected}`)
  else if (expected === 'no_stream') wrong.setExpectedNoStream(new GoogleEmpty())
  else if (expected === 'stream_exists') wrong.setExpectedStreamExists(new GoogleEmpty())
  else wrong.setExpectedAny(new GoogleEmpty())
  return wrong
}

function fail(response: BatchAppendResp, code: number, typeName: string, packed: Uint8Array): void {
  const details = new Any()
  details.pack(packed, typeName)
  response.setError(new statuses.Status().setCode(code).setMessage(typeName).setDetails(details))
}

function sizeOf(events: readonly Proposed[]): number {
  return events.reduce((sum, { data, metadata }) => sum + data.length + metadata.length, 0)
}
