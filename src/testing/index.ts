/** What the library ships for tests; subpath `trunkline/testing`. */
export { type CaseStanding, type RegisterCase, conformanceCases, runCase, standingOf, testTransport } from './conformance.ts'
export { type ConformanceCase, type ConformanceFamily, conformanceFamilies } from './conformance-case.ts'
export { type MatrixSubject, conformanceMatrix } from './conformance-matrix.ts'
export { Gate, PortSession, Stage, type StageBusOptions } from './conformance-stage.ts'
export type { BrokerFaults, ConformancePlace, ConformanceSubject, ForeignMessage, PlacePart, WorkerProcess } from './conformance-subject.ts'
export { type WorkerHost, type WorkerLine, type WorkerRole, type WorkerSettings, runConformanceWorker } from './conformance-worker.ts'
export { VirtualClock, type VirtualClockOptions, virtualClock } from './virtual-clock.ts'
