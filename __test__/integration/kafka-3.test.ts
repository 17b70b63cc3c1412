/** The last broker of Kafka 3, as many still run it. */

import { VERSIONS } from '../../scripts/stack/settings.mjs'
import { testsOnBroker } from './support/on-broker.js'
import { kafkaJars } from './support/real-kafka.js'

testsOnBroker(kafkaJars(VERSIONS.kafka3))
