import { status, type ServerWritableStream } from '@grpc/grpc-js'
import type { ReadReq, ReadResp } from '@eventstore/db-client/generated/streams_pb.js'
import { errorOf, exception, type Fault, type Faults } from './faults.ts'
import { type DoubleLog, firstWhere, type Recorded } from './log.ts'
import { type Filter, filterOf, identifierOf, nameOf, recordOf } from './messages.ts'
import { streams } from './protos.ts'

type ReadCall = ServerWritableStream<ReadReq, ReadResp>

/** Events between two looks for a checkpoint where a filter names no window. */
const WINDOW = 32

/** How a server of a certain age behaves. */
export interface ReadStyle {
  /** Servers before 23.10 never say that a subscription has caught up. */
  readonly saysCaughtUp: boolean
}

/** The calls that read and subscribe. */
export class Reads {
  readonly #log: DoubleLog
  readonly #faults: Faults
  readonly #style: ReadStyle

  constructor(log: DoubleLog, faults: Faults, style: ReadStyle) {
    this.#log = log
    this.#faults = faults
    this.#style = style
  }

  read(call: ReadCall): void {
    call.on('error', () => undefined)
    const options = call.request.getOptions()
    if (options === undefined) return void call.emit('error', exception(status.INVALID_ARGUMENT, ''))
    const name = options.hasSubscription() ? 'subscribe' : 'read'
    const untrack = this.#faults.track({ name, end: (fault) => end(call, fault) })
    call.on('cancelled', untrack)
    call.on('close', untrack)
    void this.#serve(call, options, name).finally(untrack)
  }

  async #serve(call: ReadCall, options: ReadReq.Options, name: 'read' | 'subscribe'): Promise<void> {
    const fault = await this.#faults.meet(name)
    if (fault?.kind === 'stall' || fault?.kind === 'dropReply') return await cancelled(call)
    if (fault !== undefined) return end(call, fault)
    const stream = options.hasStream() ? nameOf(options.getStream()?.getStreamIdentifier()) : undefined
    if (stream !== undefined && this.#log.isTombstoned(stream)) {
      return void call.emit('error', exception(status.FAILED_PRECONDITION, 'stream-deleted', { 'stream-name': stream }))
    }
    if (name === 'subscribe') await this.#subscribe(call, options, stream)
    else await this.#page(call, options, stream)
  }

  async #page(call: ReadCall, options: ReadReq.Options, stream: string | undefined): Promise<void> {
    if (stream !== undefined && this.#log.isMissing(stream)) {
      const missing = new streams.ReadResp.StreamNotFound().setStreamIdentifier(identifierOf(stream))
      call.write(new streams.ReadResp().setStreamNotFound(missing))
      return void call.end()
    }
    const isForwards = options.getReadDirection() === streams.ReadReq.Options.ReadDirection.FORWARDS
    const events = stream === undefined ? this.#log.all : this.#log.eventsOf(stream)
    const count = Number(BigInt.asUintN(31, BigInt(options.getCount())))
    const [first, end] = [firstForwards(events, options, stream), endBackwards(events, options, stream)]
    const chosen = isForwards ? events.slice(first, first + count) : events.slice(Math.max(0, end - count), end).toReversed()
    for (const event of chosen) {
      await this.#faults.thawed()
      if (!(await send(call, this.#responseOf(event, options.getResolveLinks())))) return
    }
    call.end()
  }

  async #subscribe(call: ReadCall, options: ReadReq.Options, stream: string | undefined): Promise<void> {
    const filterOptions = options.getFilter()
    const passes = filterOf(filterOptions)
    const interval = (filterOptions?.getMax() ?? 0) > 0 ? (filterOptions?.getMax() ?? WINDOW) : WINDOW
    const every = interval * Math.max(1, filterOptions?.getCheckpointintervalmultiplier() ?? 1)
    const confirmation = new streams.ReadResp.SubscriptionConfirmation().setSubscriptionId(crypto.randomUUID())
    call.write(new streams.ReadResp().setConfirmation(confirmation))
    const feed = new Feed(this.#log, stream, afterOf(options, stream, this.#log))
    let considered = 0
    let isCaughtUp = false
    while (!call.cancelled && !call.writableEnded) {
      const event = feed.next()
      await this.#faults.thawed()
      if (event === undefined) {
        const isThere = stream === undefined || !this.#log.isMissing(stream)
        if (!isCaughtUp && isThere && this.#style.saysCaughtUp) call.write(new streams.ReadResp().setCaughtUp(new streams.ReadResp.CaughtUp()))
        isCaughtUp ||= isThere
        await feed.arrived(call)
        continue
      }
      if (!(await this.#give(call, event, passes, options.getResolveLinks()))) return
      considered++
      if (filterOptions !== undefined && considered % every === 0) call.write(checkpointAt(event))
    }
  }

  async #give(call: ReadCall, event: Recorded, passes: Filter, resolves: boolean): Promise<boolean> {
    return passes(event) ? await send(call, this.#responseOf(event, resolves)) : true
  }

  #responseOf(event: Recorded, resolves: boolean): ReadResp {
    const read = new streams.ReadResp.ReadEvent()
    const target = resolves && event.type === '$>' ? this.#target(event) : event
    if (target !== undefined) read.setEvent(recordOf(target))
    if (target !== event) read.setLink(recordOf(event))
    read.setCommitPosition(`${event.position}`)
    return new streams.ReadResp().setEvent(read)
  }

  #target(link: Recorded): Recorded | undefined {
    const [revision = '', ...stream] = Buffer.from(link.data).toString().split('@')
    return this.#log.eventsOf(stream.join('@')).find((event) => `${event.revision}` === revision)
  }
}

/** The events of a stream or of everything, one after the other, as they come. */
class Feed {
  readonly #log: DoubleLog
  readonly #stream: string | undefined
  #after: bigint

  constructor(log: DoubleLog, stream: string | undefined, after: bigint) {
    this.#log = log
    this.#stream = stream
    this.#after = after
  }

  next(): Recorded | undefined {
    const events = this.#stream === undefined ? this.#log.all : this.#log.eventsOf(this.#stream)
    const event = events[firstWhere(events, (one) => this.#numberOf(one) > this.#after)]
    if (event !== undefined) this.#after = this.#numberOf(event)
    return event
  }

  /** Resolves when something was appended, or the call is over. */
  arrived(call: ReadCall): Promise<void> {
    return new Promise((resolve) => {
      const finish = (): void => {
        stop()
        call.off('cancelled', finish)
        call.off('close', finish)
        call.off('finish', finish)
        resolve()
      }
      const stop = this.#log.onAppended(finish)
      call.on('cancelled', finish)
      call.on('close', finish)
      call.on('finish', finish)
    })
  }

  #numberOf(event: Recorded): bigint {
    return this.#stream === undefined ? event.position : event.revision
  }
}

/** Subscriptions begin behind what they are given; -1 is before everything. */
function afterOf(options: ReadReq.Options, stream: string | undefined, log: DoubleLog): bigint {
  if (stream === undefined) {
    const all = options.getAll()
    if (all?.hasPosition() === true) return BigInt(all.getPosition()?.getCommitPosition() ?? '0')
    return all?.hasEnd() === true ? log.head : -1n
  }
  const one = options.getStream()
  if (one?.hasRevision() === true) return BigInt(one.getRevision())
  return one?.hasEnd() === true ? (log.lastRevision(stream) ?? -1n) : -1n
}

/** Index of the first event of a read, which includes where it begins. */
function firstForwards(events: readonly Recorded[], options: ReadReq.Options, stream: string | undefined): number {
  const all = options.getAll()
  const one = options.getStream()
  const isEnd = stream === undefined ? all?.hasEnd() === true : one?.hasEnd() === true
  if (isEnd) return events.length
  const from = stream === undefined ? BigInt(all?.getPosition()?.getCommitPosition() ?? '0') : BigInt(one?.hasRevision() === true ? one.getRevision() : '0')
  return firstWhere(events, (event) => (stream === undefined ? event.position : event.revision) >= from)
}

/** Number of events that a read backwards may give: a revision is included, a position is not. */
function endBackwards(events: readonly Recorded[], options: ReadReq.Options, stream: string | undefined): number {
  const all = options.getAll()
  const one = options.getStream()
  if (stream === undefined) {
    if (all?.hasPosition() !== true) return all?.hasStart() === true ? 0 : events.length
    const position = BigInt(all.getPosition()?.getCommitPosition() ?? '0')
    return firstWhere(events, (event) => event.position >= position)
  }
  if (one?.hasRevision() !== true) return one?.hasStart() === true ? Math.min(1, events.length) : events.length
  const revision = BigInt(one.getRevision())
  return firstWhere(events, (event) => event.revision > revision)
}

function checkpointAt({ position }: Recorded): ReadResp {
  return new streams.ReadResp().setCheckpoint(new streams.ReadResp.Checkpoint().setCommitPosition(`${position}`).setPreparePosition(`${position}`))
}

/** Writes with backpressure; false where the call is over. */
async function send(call: ReadCall, response: ReadResp): Promise<boolean> {
  if (call.cancelled || call.writableEnded) return false
  if (call.write(response)) return true
  await new Promise<void>((resolve) => {
    const finish = (): void => {
      call.off('drain', finish)
      call.off('cancelled', finish)
      call.off('close', finish)
      resolve()
    }
    call.on('drain', finish)
    call.on('cancelled', finish)
    call.on('close', finish)
  })
  return !call.cancelled && !call.writableEnded
}

function cancelled(call: ReadCall): Promise<void> {
  return new Promise((resolve) => {
    call.once('cancelled', () => resolve())
  })
}

function end(call: ReadCall, fault: Fault): void {
  if (fault.kind === 'status' || fault.kind === 'tooSlow') call.emit('error', errorOf(fault))
  else call.end()
}
