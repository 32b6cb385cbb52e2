import type { Transport, TransportCapabilities } from '../bus/port.ts'
import type { WorkerLine, WorkerSettings } from './conformance-worker.ts'

/** A transport under test. */
export interface ConformanceSubject {
  /** For test names and for the matrix: `nats`. */
  readonly name: string
  /** What the transport declares; the suite tests what is there and that the rest is refused. */
  readonly capabilities: TransportCapabilities
  /** Parts of a place that this technology cannot have, each with the reason; shown in the matrix. */
  readonly without?: Readonly<Partial<Record<PlacePart, string>>>
  /** Longest wait for something that must happen, in milliseconds. Only failures reach it. Default: 20,000, and more where a fault is recovered from. */
  readonly waitMsMax?: number
  /**
   * Makes a place of its own for one case: an empty namespace, file or broker in which nothing of another
   * case is heard. Closed by the suite.
   */
  place(): Promise<ConformancePlace>
}

/** Parts of a place that some technologies do not have. */
export type PlacePart = 'faults' | 'workers' | 'foreign'

/** Where one case runs. */
export interface ConformancePlace {
  /** Another transport in this place, as another process would make it. */
  open(): Transport
  /** Starts a process that calls `runConformanceWorker` with these settings on a transport of this place. */
  spawn?(settings: WorkerSettings): WorkerProcess
  /** Breaks the broker and the links that the transports of this place use. */
  readonly faults?: BrokerFaults
  /** Puts a message into the place that no library wrote; resolves when the broker has it. */
  publishForeign?(message: ForeignMessage): Promise<void>
  /** Removes the place. Transports and workers have ended by then. */
  close(): Promise<void>
}

/** A process that runs one of the suite's workers. */
export interface WorkerProcess {
  /** What it has said so far, in order; it grows. */
  readonly lines: readonly WorkerLine[]
  /** False once it has ended, however that came. */
  readonly isAlive: boolean
  /** Ends it as SIGKILL does and resolves when it is gone. */
  kill(): Promise<void>
}

/** Ways to break a broker that belongs to the test. Every one resolves when it has taken effect. */
export interface BrokerFaults {
  /** Stops the broker in order and starts it again with its data. */
  restart(): Promise<void>
  /** Stops the broker and leaves it down until `start`. */
  stop(): Promise<void>
  /** Ends the broker with SIGKILL and leaves it down until `start`. */
  kill(): Promise<void>
  /** Starts it again with its data. */
  start(): Promise<void>
  /** Destroys every connection; new ones are accepted. */
  cutLinks(): Promise<void>
  /** Connections stay open and carry nothing, in either direction. */
  halfOpen(): Promise<void>
  /** Ends `halfOpen`. */
  heal(): Promise<void>
  /** Makes sure that the broker has written down the topology that was just declared. May restart it. */
  settle(): Promise<void>
}

/** A message as another program may write it. */
export interface ForeignMessage {
  /** The event type on whose subject it travels. */
  readonly type: string
  /** CloudEvents attributes, exactly those that it carries. */
  readonly attributes: Readonly<Record<string, string>>
  readonly contentType: string | undefined
  readonly body: Uint8Array
}
