import { TrunklineError } from '../../core/errors.ts'

// The slice of a client that this adapter uses, in our own words: `@eventstore/db-client` 6.2 and `@kurrent/kurrentdb-client`
// both fit, and neither client's types reach this package's declarations.

/** A place in the whole log. */
export interface EsdbPosition {
  readonly commit: bigint
  readonly prepare: bigint
}

/** Name and password of a user. */
export interface EsdbCredentials {
  readonly username: string
  readonly password: string
}

/** An event as a client gives it. */
export interface EsdbRecorded {
  readonly streamId: string
  readonly id: string
  readonly revision: bigint
  readonly type: string
  /** Parsed where `isJson`, else bytes. */
  readonly data: unknown
  /** Parsed where it is JSON, else bytes. */
  readonly metadata?: unknown
  readonly isJson: boolean
  readonly created: Date
  readonly position?: EsdbPosition | undefined
}

/** An event, or a link whose target may be gone. */
export interface EsdbResolved {
  readonly event?: EsdbRecorded | undefined
  readonly link?: EsdbRecorded | undefined
  readonly commitPosition?: bigint | undefined
}

/** An event to be written. */
export type EsdbProposed =
  | { id: string; type: string; contentType: 'application/json'; data: Record<string, unknown> | unknown[] | string; metadata: Record<string, unknown> }
  | { id: string; type: string; contentType: 'application/octet-stream'; data: Uint8Array; metadata: Record<string, unknown> }

/** A read that runs. */
export interface EsdbReading extends AsyncIterable<EsdbResolved> {
  cancel(): Promise<void>
  destroy(): unknown
  on(event: string, listener: (...parts: never[]) => void): unknown
}

/** A subscription that runs. */
export interface EsdbSubscription extends AsyncIterable<EsdbResolved> {
  /** Events that were received and are not given out yet. */
  readonly readableLength: number
  unsubscribe(): Promise<void>
  destroy(): unknown
  on(event: string, listener: (...parts: never[]) => void): unknown
}

/** An event of a persistent subscription. */
export interface EsdbDelivered extends EsdbResolved {
  readonly retryCount: number
}

/** One consumer of a persistent subscription. */
export interface EsdbConsumer extends AsyncIterable<EsdbDelivered> {
  ack(...events: EsdbResolved[]): Promise<void>
  nack(action: 'park' | 'retry' | 'skip' | 'stop', reason: string, ...events: EsdbResolved[]): Promise<void>
  unsubscribe(): Promise<void>
  destroy(): unknown
  on(event: string, listener: (...parts: never[]) => void): unknown
}

/** Which events of the whole log a subscription wants. */
export interface EsdbFilter {
  readonly filterOn: 'streamName'
  readonly regex: string
  readonly checkpointInterval: number
  readonly checkpointReached: (subscription: unknown, position: EsdbPosition) => Promise<void>
}

/** What every call may be given. */
export interface EsdbCallOptions {
  readonly credentials?: EsdbCredentials
  readonly deadline?: number
  readonly requiresLeader?: boolean
}

/** What the server says to an append. */
export interface EsdbAppended {
  readonly nextExpectedRevision: bigint
  readonly position?: EsdbPosition | undefined
}

/** Settings of a persistent subscription to a stream. */
export interface EsdbGroupSettings {
  startFrom: 'start' | 'end' | bigint
  resolveLinkTos: boolean
  extraStatistics: boolean
  messageTimeout: number
  maxRetryCount: number
  checkPointAfter: number
  checkPointLowerBound: number
  checkPointUpperBound: number
  maxSubscriberCount: 'unbounded' | number
  liveBufferSize: number
  readBatchSize: number
  historyBufferSize: number
  consumerStrategyName: 'RoundRobin'
}

/** What a writer expects of a stream, in the client's words. */
export type EsdbExpected = bigint | 'any' | 'no_stream'

/** A client of either package. */
export interface EsdbClient {
  /** The expectation is given under the names of both packages. */
  appendToStream(
    stream: string,
    events: EsdbProposed[],
    options: EsdbCallOptions & { readonly expectedRevision: EsdbExpected; readonly streamState: EsdbExpected },
  ): Promise<EsdbAppended>
  readStream(
    stream: string,
    options: EsdbCallOptions & { readonly direction: 'forwards' | 'backwards'; readonly fromRevision: bigint | 'start' | 'end'; readonly maxCount: number },
  ): EsdbReading
  readAll(
    options: EsdbCallOptions & { readonly direction: 'forwards' | 'backwards'; readonly fromPosition: EsdbPosition | 'start' | 'end'; readonly maxCount: number },
  ): EsdbReading
  subscribeToStream(stream: string, options: EsdbCallOptions & { readonly fromRevision: bigint | 'start' | 'end' }): EsdbSubscription
  subscribeToAll(options: EsdbCallOptions & { readonly fromPosition: EsdbPosition | 'start' | 'end'; readonly filter: EsdbFilter }): EsdbSubscription
  getStreamMetadata(stream: string, options?: EsdbCallOptions): Promise<{ readonly metadata?: object | undefined }>
  setStreamMetadata(stream: string, metadata: Record<string, unknown>, options?: EsdbCallOptions): Promise<unknown>
  deleteStream(stream: string, options?: EsdbCallOptions): Promise<unknown>
  createPersistentSubscriptionToStream(stream: string, group: string, settings: EsdbGroupSettings, options?: EsdbCallOptions): Promise<void>
  subscribeToPersistentSubscriptionToStream(stream: string, group: string, options: EsdbCallOptions & { readonly bufferSize: number }): EsdbConsumer
  dispose(): Promise<void>
}

/** Makes a client from a connection string; called again whenever a client has to be replaced. */
export type EsdbConnect = () => EsdbClient

/**
 * Loads the client that is installed.
 *
 * @throws `core.peer_missing`.
 */
export async function loadEsdbClient(): Promise<(connectionString: string) => EsdbClient> {
  try {
    const { EventStoreDBClient } = await import('@eventstore/db-client')
    return (text) => EventStoreDBClient.connectionString(text)
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error) || error.code !== 'ERR_MODULE_NOT_FOUND' || !error.message.includes("'@eventstore/db-client'")) throw error
    throw new TrunklineError('core.peer_missing', { package: '@eventstore/db-client', install: 'npm install @eventstore/db-client' }, { cause: error })
  }
}
