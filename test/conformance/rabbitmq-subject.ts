import { connect } from 'amqplib'
import { rabbitmqCapabilities } from '../../src/adapters/rabbitmq/index.ts'
import { rabbitmqServer } from '../servers/rabbitmq-server.ts'
import { BrokerSubject } from './broker-subject.ts'

/** The RabbitMQ transport on a private server; each call makes another server. */
export function rabbitmqSubject(): BrokerSubject {
  return new BrokerSubject({
    name: 'rabbitmq',
    capabilities: rabbitmqCapabilities,
    server: () => rabbitmqServer(),
    spec: (url, namespace) => ({ kind: 'rabbitmq', url, namespace }),
    publishForeign: async (url, namespace, { type, attributes, contentType, body }) => {
      const client = await connect(url)
      const channel = await client.createConfirmChannel()
      const headers = Object.fromEntries(Object.entries(attributes).map(([name, value]) => [`cloudEvents:${name}`, value]))
      channel.publish(`${namespace}.events`, `${type}.-.-`, Buffer.from(body), { headers, persistent: true, ...(contentType === undefined ? {} : { contentType }) })
      await channel.waitForConfirms()
      await client.close()
    },
    // A quorum queue that was declared just before SIGKILL comes back dead from RabbitMQ 3.10.
    settle: (server) => server.restart(),
  })
}
