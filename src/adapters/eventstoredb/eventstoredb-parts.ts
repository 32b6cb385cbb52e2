import type { TransportHost } from '../../bus/port.ts'
import type { EsdbDeadLetters } from './eventstoredb-dead-letters.ts'
import type { EsdbLink } from './eventstoredb-link.ts'
import type { EsdbNames } from './eventstoredb-names.ts'
import type { EsdbSettings } from './eventstoredb-options.ts'
import type { EsdbPublisher } from './eventstoredb-publisher.ts'

/** What all groups of one open transport share. */
export interface EsdbParts {
  readonly host: TransportHost
  readonly link: EsdbLink
  readonly names: EsdbNames
  readonly settings: EsdbSettings
  readonly publisher: EsdbPublisher
  readonly deadLetters: EsdbDeadLetters
}
