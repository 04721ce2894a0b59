//! What must exist before the first task runs.

use super::super::Deployment;
use super::error::PrepareError;
use crate::client::Client;
use crate::schema::{Schema, SchemaRegistry};

/// Makes the deployment's topics, the source's if it is not there, and registers its schemas. May be done again, and by several at once.
///
/// # Errors
/// When a topic exists with another number of partitions, or a schema's id means another schema.
pub async fn prepare(client: &Client, deployment: &Deployment) -> Result<(), PrepareError> {
    client.create_topic(deployment.source_topic(), deployment.pipeline.source().partitions).await?;
    for (topic, partitions) in deployment.topics() {
        client.create_topic(&topic, partitions).await?;
    }
    let schemas = deployment.schemas();
    if schemas.is_empty() {
        return Ok(());
    }
    let mut registry = SchemaRegistry::open(client).await?;
    for schema in schemas {
        registry.register(&Schema::parse(&schema)?).await?;
    }
    Ok(())
}
