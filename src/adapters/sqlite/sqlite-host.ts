import type { TransportHost } from '../../bus/port.ts'

/** What an open file knows of the program: the part that a transport and a store are told alike. */
export type SqliteHost = Pick<TransportHost, 'clock' | 'random' | 'logger'>
