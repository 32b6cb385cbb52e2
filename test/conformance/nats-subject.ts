import { connect, headers as natsHeaders } from 'nats'
import { natsCapabilities } from '../../src/adapters/nats/index.ts'
import { natsServer } from '../servers/nats-server.ts'
import { BrokerSubject } from './broker-subject.ts'

/** The NATS transport on a private server; each call makes another server. */
export function natsSubject(): BrokerSubject {
  return new BrokerSubject({
    name: 'nats',
    capabilities: natsCapabilities,
    server: () => natsServer(),
    spec: (servers, namespace) => ({ kind: 'nats', servers, namespace }),
    publishForeign: async (url, namespace, { type, attributes, contentType, body }) => {
      const client = await connect({ servers: url })
      const headers = natsHeaders()
      for (const [name, value] of Object.entries(attributes)) headers.set(`ce-${name}`, value)
      if (contentType !== undefined) headers.set('ce-datacontenttype', contentType)
      await client.jetstream().publish(`${namespace}.e.0.0.${type}`, body, { headers })
      await client.close()
    },
    settle: () => Promise.resolve(),
  })
}
